package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence/lab"
	"ringfence/machine"
)

// fakeMachine writes what a running installation leaves for the command line; its socket listens until the test ends.
func fakeMachine(t *testing.T, tenants ...machine.Tenant) *machine.State {
	t.Helper()
	dir, err := os.MkdirTemp("", "rfp") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	st := &machine.State{Name: "m1", Endpoint: "https://127.0.0.1:1", CA: filepath.Join(dir, "ca.pem"), Socket: filepath.Join(dir, "api.sock"), RunDir: dir, Tenants: tenants}
	b, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "installation.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", st.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return st
}

func words(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	for _, v := range []string{"RINGFENCE_LAB", "RINGFENCE_SUBSCRIPTION", "RINGFENCE_AS", "RINGFENCE_CA", "RINGFENCE_ENDPOINT", "RINGFENCE_TOKEN"} {
		t.Setenv(v, "")
	}
	var out, errOut bytes.Buffer
	code := run(context.Background(), args, Programs{}, strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

// What an installation's tenant needs is printed as for a lab, from the files beside its socket.
func TestEnvOfAnInstallation(t *testing.T) {
	st := fakeMachine(t, machine.Tenant{Name: "default", ID: "T", Subscription: "S", Token: "secret", ClientID: "C", ClientSecret: "P"},
		machine.Tenant{Name: "plain", ID: "U", Subscription: "S2"})
	code, out, errs := words(t, "env", "terraform", "--endpoint", "unix:"+st.Socket)
	for _, want := range []string{"ARM_METADATA_HOSTNAME='127.0.0.1:1'", "ARM_TENANT_ID='T'", "ARM_SUBSCRIPTION_ID='S'", "ARM_CLIENT_ID='C'", "ARM_CLIENT_SECRET='P'",
		"SSL_CERT_FILE='" + st.CA + "'"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("%d: no %s in\n%s%s", code, want, out, errs)
		}
	}
	if code, _, errs := words(t, "env", "sdk", "--as", "nobody", "--endpoint", "unix:"+st.Socket); code != exitUsage || !strings.Contains(errs, "the installation m1 has no such tenant; there are: default, plain") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := words(t, "env", "sdk", "--as", "plain", "--endpoint", "unix:"+st.Socket); code != exitError || !strings.Contains(errs, "no secret of them is kept here") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := words(t, "env", "az", "--endpoint", "https://127.0.0.1:1"); code != exitError || !strings.Contains(errs, "RINGFENCE_TOKEN") {
		t.Errorf("%d %s", code, errs)
	}
}

// Nobody guesses where a write goes when both run, and every case without either says what to do.
func TestWhereCommandsGo(t *testing.T) {
	up := &lab.State{Name: "lab", Endpoint: "https://l"}
	running := fakeMachine(t)
	stopped := *running
	stopped.Socket = filepath.Join(t.TempDir(), "api.sock")
	down := &noLab{}
	for _, c := range []struct {
		lab       *lab.State
		machine   *machine.State
		others    []string
		want, why string
	}{
		{up, nil, nil, `lab "lab"`, ""},
		{nil, running, nil, "the installation m1", ""},
		{up, running, nil, "", "say --lab lab, or --endpoint unix:" + running.Socket},
		{up, &stopped, nil, `lab "lab"`, ""},
		{nil, &stopped, nil, "", "systemctl start ringfence"},
		{nil, nil, nil, "", "neither a lab nor an installation runs on this machine"},
		{nil, nil, []string{"staging"}, "", "--lab names: staging"},
	} {
		var missing error
		if c.lab == nil {
			missing = down
		}
		p, err := choose(c.lab, missing, c.machine, c.others)
		if c.why == "" && (err != nil || p.what != c.want) || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%+v: %+v, %v", c, p, err)
		}
	}
}

type noLab struct{}

func (*noLab) Error() string { return `lab "lab" is not up` }
