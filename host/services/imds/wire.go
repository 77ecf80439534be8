package imds

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// wireVersions is what guests' agents ask first.
const wireVersions = `<?xml version="1.0" encoding="utf-8"?>
<Versions>
  <Preferred>
    <Version>2015-04-05</Version>
  </Preferred>
  <Supported>
    <Version>2015-04-05</Version>
    <Version>2012-11-30</Version>
  </Supported>
</Versions>
`

// longestReport bounds what a guest may say about its health, in bytes.
const longestReport = 64 << 10

// goalState is what a provisioning guest needs: who it is, so that it can say that it is ready. There is no certificate and no
// extension to fetch.
type goalState struct {
	XMLName     xml.Name `xml:"GoalState"`
	Version     string
	Incarnation string
	Machine     struct {
		ExpectedState         string
		StopRolesDeadlineHint string
	}
	Container container
}

type container struct {
	ContainerID      string `xml:"ContainerId"`
	RoleInstanceList struct {
		RoleInstance struct {
			InstanceID string `xml:"InstanceId"`
			State      string
		}
	}
}

// health is what a guest answers to that.
type health struct {
	XMLName              xml.Name `xml:"Health"`
	GoalStateIncarnation string
	Container            struct {
		ContainerID string `xml:"ContainerId"`
		Roles       []struct {
			InstanceID string `xml:"InstanceId"`
			State      string `xml:"Health>State"`
			Details    string `xml:"Health>Details>Description"`
		} `xml:"RoleInstanceList>Role"`
	}
}

// incarnation never changes: the machine is told the rest by other ways.
const incarnation = "1"

// role is the name of the machine's only role.
func role(m *machine) string { return m.compute.VMID + "._" + m.host }

// wire answers the version call and the goal state, hears the guest's health, and says of everything else that it is not there.
func (s *Server) wire(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	comp := r.URL.Query().Get("comp")
	machinePath := strings.Trim(r.URL.Path, "/") == "machine"
	method := http.MethodGet
	if machinePath && comp == "health" {
		method = http.MethodPost
	}
	switch {
	case r.Method != method:
		w.Header().Set("Allow", method)
		wireFault(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "Only "+method+" is answered here.")
	case r.URL.Path == "/" && comp == "versions":
		w.Write([]byte(wireVersions))
	case machinePath && comp == "goalstate":
		writeGoalState(w, asker(r))
	case machinePath && comp == "health":
		s.report(w, r)
	default:
		wireFault(w, http.StatusNotFound, "ResourceNotAvailable", "This host's wire server answers /?comp=versions, /machine/?comp=goalstate and /machine?comp=health.")
	}
}

func writeGoalState(w http.ResponseWriter, m *machine) {
	g := goalState{Version: "2012-11-30", Incarnation: incarnation}
	g.Machine.ExpectedState, g.Machine.StopRolesDeadlineHint = "Started", "300000"
	g.Container.ContainerID = m.compute.VMID
	g.Container.RoleInstanceList.RoleInstance.InstanceID = role(m)
	g.Container.RoleInstanceList.RoleInstance.State = "Started"
	b, err := xml.MarshalIndent(g, "", "  ")
	if err != nil { // strings only
		panic(err)
	}
	w.Write([]byte(xml.Header))
	w.Write(append(b, '\n'))
}

// report hears a machine's health and logs it when it is another than before; nothing of the fabric depends on it.
func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	m := asker(r)
	state, details, err := readHealth(http.MaxBytesReader(w, r.Body, longestReport), m)
	if err != nil {
		wireFault(w, http.StatusBadRequest, "InvalidXml", err.Error())
		return
	}
	if s.healths.changed(m.id, state) {
		level := slog.LevelInfo
		if state != "Ready" {
			level = slog.LevelWarn
		}
		s.log.Log(r.Context(), level, "metadata: a machine reports its health", "vm", m.resource, "state", state, "details", details)
	}
	w.WriteHeader(http.StatusOK)
}

// readHealth wants the machine's own report.
func readHealth(body io.Reader, m *machine) (state, details string, err error) {
	var h health
	if err := xml.NewDecoder(body).Decode(&h); err != nil {
		return "", "", fmt.Errorf("the report cannot be read: %w", err)
	}
	if h.GoalStateIncarnation != incarnation || h.Container.ContainerID != m.compute.VMID || len(h.Container.Roles) != 1 ||
		h.Container.Roles[0].InstanceID != role(m) {
		return "", "", errors.New("the report is not about this machine's goal state")
	}
	one := h.Container.Roles[0]
	if one.State != "Ready" && one.State != "NotReady" {
		return "", "", errors.New("the state is Ready or NotReady")
	}
	return one.State, one.Details[:min(len(one.Details), 512)], nil
}

func wireFault(w http.ResponseWriter, status int, code, text string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Error>\n  <Code>%s</Code>\n  <Message>", code)
	xml.EscapeText(w, []byte(text))
	io.WriteString(w, "</Message>\n  <Details></Details>\n</Error>\n")
}
