package imds

import (
	"net/http"
	"slices"
)

// beside are the documents next to the instance's, with the truth about a machine that has nothing of the kind.
var beside = []struct {
	path   string
	answer func(w http.ResponseWriter, query map[string]string)
}{
	{"identity/oauth2/token", token},
	{"attested/document", attested},
	{"loadbalancer", loadBalancer},
	{"scheduledevents", scheduledEvents},
}

// token says that the machine has no managed identity, in the form by which clients recognise that and go on to the next way.
func token(w http.ResponseWriter, query map[string]string) {
	refuse := func(code, text string) {
		write(w, http.StatusBadRequest, object{"error": code, "error_description": text})
	}
	switch {
	case query["api-version"] < "2018-02-01":
		refuse("invalid_request", "Required query variable 'api-version' is missing or too old")
	case query["resource"] == "":
		refuse("invalid_request", "Required query variable 'resource' is missing")
	default:
		refuse("invalid_request", "Identity not found")
	}
}

// attested signs nothing: a signature that is not Azure's would prove nothing to who asks for it.
func attested(w http.ResponseWriter, query map[string]string) {
	if !slices.Contains(versions, query["api-version"]) {
		fail(w, http.StatusBadRequest, noVersion, newest())
		return
	}
	fail(w, http.StatusNotFound, "Not found. This host has no certificate to attest documents with", nil)
}

func loadBalancer(w http.ResponseWriter, query map[string]string) {
	if !slices.Contains(versions, query["api-version"]) {
		fail(w, http.StatusBadRequest, noVersion, newest())
		return
	}
	fail(w, http.StatusNotFound, "No load balancer metadata is found", nil)
}

// eventVersions are those of scheduled events.
var eventVersions = []string{"2017-03-01", "2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01"}

// scheduledEvents are none: nothing that a host does to a machine is announced.
func scheduledEvents(w http.ResponseWriter, query map[string]string) {
	if !slices.Contains(eventVersions, query["api-version"]) {
		list := slices.Clone(eventVersions[len(eventVersions)-3:])
		slices.Reverse(list)
		fail(w, http.StatusBadRequest, noVersion, list)
		return
	}
	write(w, http.StatusOK, object{"DocumentIncarnation": 1, "Events": []any{}})
}
