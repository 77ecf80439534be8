package resource

// Beside is the document for one who answers about it now: it borrows the tree of the tentative document that it was stored from, so that
// a large body is not parsed again and again. The loan ends with the answer; nobody keeps it.
func (d *Doc) Beside(from *Doc) *Doc {
	if d == nil || from == nil || from.root == nil || !from.current() || !d.current() || &from.Body[0] != &d.Body[0] {
		return d
	}
	c := *d
	c.root = from.root
	return &c
}

// Stored is the document as it stands in the store at a revision: what a tentative document knows of its past and of its
// text is left behind, or every version would keep the one before it in memory. The typed form is shared.
func (d *Doc) Stored(revision int64) *Doc {
	s := &Doc{ID: d.ID, Type: d.Type, Body: d.Body, System: d.System, Revision: revision}
	if d.current() {
		s.parsed, s.parsedAt, s.where = d.parsed, d.parsedAt, d.where
		if g, ok := d.parsed.(*NSG); ok {
			s.parsed, s.settled = provenance(s, g), true
		}
	}
	return s
}
