package arm

import (
	_ "embed"
	"errors"
	"net/http"
	"strings"
	"sync"

	"ringfence/intent/resource"
)

// azureText lists what Azure can be asked for, a line each: method and path, names as {}.
//
//go:embed azure.txt
var azureText string

// place is one segment of Azure's paths and what follows it.
type place struct {
	word  string
	next  map[string]*place // by lower-case word; "{}" for a name
	verbs map[string]bool
}

func (p *place) step(word string) *place {
	key := strings.ToLower(word)
	if p.next[key] == nil {
		if p.next == nil {
			p.next = map[string]*place{}
		}
		p.next[key] = &place{word: word, verbs: map[string]bool{}}
	}
	return p.next[key]
}

var azurePaths = sync.OnceValue(func() *place {
	root := &place{}
	for line := range strings.Lines(azureText) {
		verb, path, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || verb == "#" {
			continue
		}
		at := root
		for _, word := range strings.FieldsFunc(path, func(c rune) bool { return c == '/' }) {
			at = at.step(word)
		}
		at.verbs[verb] = true
	}
	return root
})

// onAzure finds what a path is on Azure: its canonical words, and whether Azure serves the method there.
func onAzure(verb string, path []string) (words []string, served bool) {
	if len(path) == 0 {
		return nil, false
	}
	for _, found := range azurePaths().find(path) {
		if at := found[len(found)-1]; at.verbs[verb] {
			for _, p := range found {
				words = append(words, p.word)
			}
			return words, true
		}
	}
	return nil, false
}

// find gives every way to walk a path: a word may also be a name.
func (p *place) find(path []string) [][]*place {
	if len(path) == 0 {
		return [][]*place{nil}
	}
	var out [][]*place
	for _, key := range []string{strings.ToLower(path[0]), "{}"} {
		next := p.next[key]
		if next == nil {
			continue
		}
		for _, rest := range next.find(path[1:]) {
			out = append(out, append([]*place{next}, rest...))
		}
	}
	return out
}

// unserved is the refusal of a path, or of a method on it, that means nothing here.
type unserved struct{ error }

func (u unserved) Unwrap() error { return u.error }

// missing turns the refusal of something unknown into one that names it, when Azure knows it.
func (q *request) missing(err error) error {
	if !errors.As(err, new(unserved)) {
		return err
	}
	verb := q.Method
	if verb == http.MethodHead {
		verb = http.MethodGet
	}
	words, ok := onAzure(verb, q.path)
	if !ok {
		return err
	}
	what := named(words)
	q.style = resource.Gateway
	return resource.Faults{{Status: 400, Code: "RingfenceNotSupported", Target: what[strings.LastIndexByte(what, ' ')+1:],
		Message: "The " + what + " exists on Azure and is not supported here (" + q.Method + ")."}}
}

// named says what the canonical words of a path are: a resource type, or an operation on one.
func named(words []string) string {
	kind, names := "", 0
	for i := range words {
		if strings.EqualFold(words[i], "providers") && i+1 < len(words) {
			kind, names = words[i+1], i+2
		}
	}
	if kind == "" {
		return "operation " + words[len(words)-1]
	}
	for _, w := range words[names:] {
		if w != "{}" {
			kind += "/" + w
		}
	}
	t := resource.Find(kind)
	switch {
	case t != nil:
		return "operation on resource type " + kind
	case words[len(words)-1] == "{}" || isCollection(words):
		return "resource type " + kind
	}
	return "operation " + kind
}

// isCollection: Azure also knows single resources below the path.
func isCollection(words []string) bool {
	at := azurePaths()
	for _, w := range words {
		at = at.next[strings.ToLower(w)]
	}
	return at.next["{}"] != nil
}
