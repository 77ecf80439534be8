package resource

// Stored is the document as it stands in the store at a revision: what a tentative document knows of its past and of its
// text is left behind, or every version would keep the one before it in memory. The typed form is shared.
func (d *Doc) Stored(revision int64) *Doc {
	s := &Doc{ID: d.ID, Type: d.Type, Body: d.Body, System: d.System, Revision: revision}
	if d.current() {
		s.parsed, s.parsedAt = d.parsed, d.parsedAt
		if g, ok := d.parsed.(*NSG); ok {
			s.parsed, s.settled = provenance(s, g), true
		}
	}
	return s
}
