package imds

import (
	"fmt"
	"net/http"
)

// wireVersions is what guests' agents ask first. The list is all that this wire server has: there is no goal state, no certificate
// and no extension to fetch.
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

// wire answers the version call and says of everything else that it is not there.
func (s *Server) wire(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		wireFault(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "Only GET is answered.")
	case r.URL.Path == "/" && r.URL.Query().Get("comp") == "versions":
		w.Write([]byte(wireVersions))
	default:
		wireFault(w, http.StatusNotFound, "ResourceNotAvailable", "This host's wire server answers /?comp=versions only.")
	}
}

func wireFault(w http.ResponseWriter, status int, code, text string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Error>\n  <Code>%s</Code>\n  <Message>%s</Message>\n  <Details></Details>\n</Error>\n", code, text)
}
