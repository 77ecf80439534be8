package store

import "strings"

// Everything lies under one prefix, so that one watch sees all of it in the order of its revisions.
const (
	rootPrefix  = "/ringfence/"
	docPrefix   = rootPrefix + "doc/"   // + key of the document
	refPrefix   = rootPrefix + "ref/"   // + key of the target \0 key of the source
	allocPrefix = rootPrefix + "alloc/" // + key of the claim; the value is the owner
	hostPrefix  = rootPrefix + "host/"  // + name: facts that goals depend on
	seenPrefix  = rootPrefix + "seen/"  // + name: facts that goals do not depend on
	ackPrefix   = rootPrefix + "ack/"   // + name
	markPrefix  = rootPrefix + "mark/"  // + name: what was decided about a host
	notePrefix  = rootPrefix + "note/"  // + key: what other rooms keep beside documents

	serverPrefix = rootPrefix + "server/" // + name: what a server tells about itself
	tokenPrefix  = rootPrefix + "token/"  // + id: join tokens, hashed
	enrollPrefix = rootPrefix + "enroll/" // + name: hosts that joined, with their keys

	// roomKey is written to see whether etcd takes writes.
	roomKey = rootPrefix + "room"

	// generationKey is written with every change that goals depend on: its revision is the generation. Without it a deletion
	// as the last change would leave no trace, and the generation would go back at the next start.
	generationKey = rootPrefix + "generation"
)

// A reference key names target and source; \0 occurs in neither and sorts before all that occurs.
func refKey(target, source string) string { return refPrefix + target + "\x00" + source }

// span is the range of keys from first to before end.
type span struct{ first, end string }

// refsTo covers the references to the resource itself, refsInside those to its children. They are two ranges, since the
// names of other resources (nsg-1 beside nsg) sort between them.
func refsTo(target string) span {
	return span{refPrefix + target + "\x00", refPrefix + target + "\x01"}
}
func refsInside(target string) span { return span{refPrefix + target + "/", refPrefix + target + "0"} }

// docsInside covers the documents whose ids lie under key: those of a resource group.
func docsInside(key string) span { return span{docPrefix + key + "/", docPrefix + key + "0"} }

// groupOf is the key of the resource group that key lies in or is.
func groupOf(key string) string {
	p := strings.SplitN(key, "/", 6) // "", subscriptions, S, resourcegroups, G, rest
	return strings.Join(p[:min(5, len(p))], "/")
}
