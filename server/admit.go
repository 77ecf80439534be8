package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/intent/alloc"
	"ringfence/intent/arm"
	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// tries is how often a write is decided anew because another server was faster with something it depends on.
const tries = 5

// Apply decides a write on the newest snapshot and makes it: allocation, validation of everything that it affects, compilation, and one
// transaction. Until that transaction nothing has changed anywhere. It returns when the newest snapshot has the write.
func (v *Server) Apply(ctx context.Context, w arm.Intent) (_ arm.Result, err error) {
	done := v.wrote(w)
	defer func() { done(err) }()
	v.admission.Lock()
	defer v.admission.Unlock()
	for try := 1; ; try++ {
		base := v.store.Snapshot()
		result, err := v.decide(ctx, base, w)
		var (
			conflict *store.Conflict
			used     *store.InUse
		)
		switch {
		case err == nil:
			return v.settle(ctx, result)
		case errors.As(err, &used) && used.Base > 0 && try < tries: // the newer snapshot knows who uses it, and Azure's word for that
		case !errors.As(err, &conflict):
			return arm.Result{}, refusal(err)
		case try == tries || moved(v.store.Snapshot(), w):
			return arm.Result{}, fmt.Errorf("%w: %w", arm.ErrConflict, err)
		}
		v.await(ctx, base.Revision()+1)
	}
}

// settle waits until the newest snapshot has the write and takes the document from there.
func (v *Server) settle(ctx context.Context, r arm.Result) (arm.Result, error) {
	if r.Revision == 0 {
		return r, nil
	}
	snap, err := v.store.Wait(ctx, r.Revision)
	if err != nil || r.Doc == nil {
		return r, err
	}
	stored := snap.Get(r.Doc.Key())
	if stored == nil || stored.Revision != int64(r.Revision) { // another server has gone on already
		own := *r.Doc
		own.Revision = int64(r.Revision)
		stored = &own
	}
	r.Doc = stored
	return r, nil
}

// await gives the watch a moment to bring what the transaction met.
func (v *Server) await(ctx context.Context, revision uint64) {
	within, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	v.store.Wait(within, revision)
}

// moved tells whether the document that w was made from is not the stored one any more: then its maker must look again.
func moved(s *store.Snapshot, w arm.Intent) bool {
	if w.Put != nil {
		return revisionOf(s, w.Put.Key()) != w.Put.Revision
	}
	return w.Revision != 0 && revisionOf(s, w.Delete) != w.Revision
}

func revisionOf(s *store.Snapshot, key string) int64 {
	if d := s.Get(key); d != nil {
		return d.Revision
	}
	return 0
}

func (v *Server) decide(ctx context.Context, base *store.Snapshot, w arm.Intent) (arm.Result, error) {
	if moved(base, w) {
		return arm.Result{}, &store.Conflict{Revision: base.Revision()}
	}
	write, result := &store.Write{Base: base}, arm.Result{}
	if w.Put != nil {
		doc := *w.Put
		draft := &alloc.Draft{Base: base, Doc: &doc}
		if err := v.alloc.Allocate(draft); err != nil {
			return arm.Result{}, err
		}
		write.Put, write.Hosts = []store.Put{{Doc: &doc, Claims: draft.Claims}}, draft.Hosts
		if err := v.bring(base, &doc, write); err != nil {
			return arm.Result{}, err
		}
		result.Doc, result.Created = &doc, w.Put.Revision == 0
	} else {
		var err error
		if write.Delete, err = deletion(base, w.Delete); err != nil || write.Delete == nil {
			return arm.Result{}, err
		}
	}
	if err := v.judge(base.With(write), write); err != nil {
		return arm.Result{}, err
	}
	var err error
	if result.Revision, err = v.store.Commit(ctx, write); err != nil {
		return arm.Result{}, err
	}
	return result, nil
}

// bring adds the documents that come into being with one that is put.
func (v *Server) bring(base *store.Snapshot, d *resource.Doc, write *store.Write) error {
	for _, more := range resource.Brought(d) {
		if base.Get(more.Key()) != nil {
			continue
		}
		draft := &alloc.Draft{Base: base, Doc: more}
		if err := v.alloc.Allocate(draft); err != nil {
			return err
		}
		write.Put = append(write.Put, store.Put{Doc: more, Claims: draft.Claims})
	}
	return nil
}

// taken are the documents that go with one that is deleted: those that it says, and nothing else refers to.
func taken(base *store.Snapshot, d *resource.Doc) []string {
	var keys []string
	for _, key := range resource.Taken(d) {
		others := func(by string) bool { return by != d.Key() }
		if base.Get(key) != nil && !slices.Contains(keys, key) && !slices.ContainsFunc(base.Referrers(key), others) {
			keys = append(keys, key)
		}
	}
	return keys
}

// deletion lists what goes with a document: of a resource group everything in it.
func deletion(base *store.Snapshot, key string) ([]string, error) {
	d := base.Get(key)
	if d == nil {
		return nil, nil
	}
	keys := []string{key}
	if d.Type.Name != resource.GroupType {
		return append(keys, taken(base, d)...), resource.InUse(d, base).Err()
	}
	inside := key + "/"
	outsider := func(by string) bool { return !strings.HasPrefix(by, inside) }
	var blocked []string
	for m := range base.Inside(key) {
		keys = append(keys, m.Key())
		if slices.ContainsFunc(base.Referrers(m.Key()), outsider) {
			blocked = append(blocked, m.ID.String())
		}
	}
	if blocked == nil {
		return keys, nil
	}
	return nil, resource.Faults{{Status: 409, Code: "ResourceGroupDeletionBlocked", Message: fmt.Sprintf(
		"Deletion of resource group '%s' failed as resources with identifiers '%s' could not be deleted.", d.ID.Group, strings.Join(blocked, ","))}}
}

// judge validates what the write puts and everything that refers to it, as they would be after it, and compiles: what would be stored
// must be what can be enforced.
func (v *Server) judge(after *store.Snapshot, w *store.Write) error {
	for _, p := range w.Put {
		if err := validate(p.Doc, after); err != nil {
			return err
		}
	}
	goals, problems := v.compile(after)
	if i := slices.IndexFunc(problems, func(p compile.Problem) bool { return concerns(p, w) }); i >= 0 {
		p := problems[i]
		return resource.Faults{{Status: 400, Code: resource.NotSupported, Target: p.Field, Message: fmt.Sprintf(
			"%s: %s %q cannot be enforced as asked; enforced would be: %s.", p.ID, p.Field, p.Value, p.Effect)}}
	}
	for _, g := range goals {
		if err := goal.Check(g); err != nil {
			return fmt.Errorf("compile: the goal of %s is wrong: %w", g.Name, err)
		}
	}
	return nil
}

func validate(put *resource.Doc, after *store.Snapshot) error {
	if faults := resource.Validate(put, after); len(faults) > 0 {
		return faults
	}
	if put.Type.Name == resource.GroupType {
		return nil // whatever lies in a group refers to it
	}
	for _, key := range after.Referrers(put.Key()) {
		by := after.Get(key)
		if by == nil || key == put.Key() {
			continue
		}
		if faults := resource.Validate(by, after); len(faults) > 0 {
			return affected(put, by, faults)
		}
	}
	return nil
}

// concerns tells whether a problem is of a document that the write puts. Others were there before and are shown elsewhere.
func concerns(p compile.Problem, w *store.Write) bool {
	return slices.ContainsFunc(w.Put, func(put store.Put) bool {
		return resource.TopKey(strings.ToLower(p.ID)) == put.Doc.Key()
	})
}

// affected says that a document is refused because another one would become invalid by it.
func affected(put, by *resource.Doc, faults resource.Faults) error {
	f := faults[0]
	f.Target = ""
	f.Message = fmt.Sprintf("%s would make %s invalid: %s", put.ID, by.ID, f.Message)
	f.Details = faults
	return resource.Faults{f}
}

// refusal turns what the store found in the transaction into what a client understands.
func refusal(err error) error {
	var (
		missing *store.Missing
		inUse   *store.InUse
	)
	switch {
	case errors.As(err, &missing):
		return resource.Faults{{Status: 400, Code: "InvalidResourceReference", Message: fmt.Sprintf(
			"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.",
			missing.Key, missing.By)}}
	case errors.As(err, &inUse):
		return resource.Faults{{Status: 409, Code: "OperationNotAllowed", Message: fmt.Sprintf(
			"The operation cannot be performed: %s is in use by %s.", inUse.Key, strings.Join(inUse.By, ", "))}}
	case errors.Is(err, store.ErrTooLarge):
		return resource.Faults{{Status: 413, Code: "RequestContentTooLarge", Message: "The write is larger than the store takes: " + err.Error()}}
	case errors.Is(err, store.ErrNoSpace):
		return resource.Faults{{Status: 503, Code: "ServiceUnavailable", Message: "Nothing was changed: the store has no space left. Room is made by itself where that is possible; please retry the request."}}
	case errors.Is(err, store.ErrAway):
		return resource.Faults{{Status: 503, Code: "ServiceUnavailable", Message: "The store does not answer, and does not tell whether the write was made. What hosts enforce stays in force. Please retry the request."}}
	}
	return err
}
