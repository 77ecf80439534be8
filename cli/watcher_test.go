package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAnswersAsTables: an answer with rows inside rows is shown as rows without anybody naming a format.
func TestAnswersAsTables(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"value":[{"a":[{"b":1},{"b":2}]}]}`))
	}))
	defer web.Close()
	var out bytes.Buffer
	a := &app{ctx: context.Background(), out: &out, err: &out, flags: &globals{}, progress: newProgress(&out)}
	s := &session{client: &client{base: web.URL, http: web.Client()}, app: a}
	rows := func(v any) any { return list(list(v, "value")[0], "a") }
	if err := a.ask(s, "/x", nil, rows, column{"B", "b"}); err != nil || !strings.Contains(out.String(), "1\n2") {
		t.Errorf("%q, %v", out.String(), err)
	}
}
