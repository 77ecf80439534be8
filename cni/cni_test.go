package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringfence/host/agent/local"
)

// fakeAgent has one network interface of each id at most, as the fabric.
type fakeAgent struct {
	ports map[string]local.Port
	down  error
	log   []string
}

func newFake() *fakeAgent { return &fakeAgent{ports: map[string]local.Port{}} }

func (f *fakeAgent) Attach(_ context.Context, a local.Attach) (local.Port, error) {
	if f.down != nil {
		return local.Port{}, f.down
	}
	f.log = append(f.log, "attach "+a.NIC)
	if o, ok := f.ports[a.NIC]; ok && o.Attach != a {
		return local.Port{}, &local.Error{Status: 409, Message: "it is attached to " + o.Namespace}
	}
	p := local.Port{Attach: a, Index: 7, MAC: "02:52:46:00:00:07", MTU: 1500, Ready: true, Domain: "x.internal.cloudapp.net",
		DNS: []netip.Addr{netip.MustParseAddr("168.63.129.16")},
		Addresses: []local.Address{{Prefix: netip.MustParsePrefix("10.0.0.4/24"), Gateway: netip.MustParseAddr("10.0.0.1")},
			{Prefix: netip.MustParsePrefix("10.0.0.9/24"), Gateway: netip.MustParseAddr("10.0.0.1")},
			{Prefix: netip.MustParsePrefix("fd00::4/128"), Gateway: netip.MustParseAddr("fe80::1")}}}
	f.ports[a.NIC] = p
	return p, nil
}

func (f *fakeAgent) Detach(_ context.Context, nic string, _ bool) error {
	f.log = append(f.log, "detach "+nic)
	delete(f.ports, nic)
	return f.down
}

func (f *fakeAgent) Ports(context.Context) ([]local.Port, error) {
	return slices.Collect(maps.Values(f.ports)), f.down
}

func (f *fakeAgent) Status(context.Context) error { return f.down }

// runtime calls the plugin as a container runtime does.
type runtime struct {
	t     *testing.T
	agent *fakeAgent
	there inside // what the container has
	conf  map[string]any
	env   map[string]string
}

func newRuntime(t *testing.T) *runtime {
	there := inside{mac: "02:52:46:00:00:07", up: true, addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.4/24"),
		netip.MustParsePrefix("10.0.0.9/24"), netip.MustParsePrefix("fd00::4/128")}}
	return &runtime{t: t, agent: newFake(), there: there, conf: map[string]any{"cniVersion": "1.1.0", "name": "net", "type": Program, "dataDir": t.TempDir()},
		env: map[string]string{"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0", "CNI_ARGS": "IgnoreUnknown=1;RINGFENCE_NIC=/nic/a"}}
}

// with is the same runtime with other words.
func (r *runtime) with(pairs ...any) *runtime {
	o := &runtime{t: r.t, agent: r.agent, there: r.there, conf: maps.Clone(r.conf), env: maps.Clone(r.env)}
	for i := 0; i < len(pairs); i += 2 {
		if name := pairs[i].(string); strings.HasPrefix(name, "CNI_") {
			o.env[name] = pairs[i+1].(string)
		} else {
			o.conf[name] = pairs[i+1]
		}
	}
	return o
}

func (r *runtime) call(command string) (any, error) {
	b, err := json.Marshal(r.conf)
	if err != nil {
		r.t.Fatal(err)
	}
	return call(context.Background(), func(name string) string {
		if name == "CNI_COMMAND" {
			return command
		}
		return r.env[name]
	}, strings.NewReader(string(b)), world{func(string) agent { return r.agent }, func(string, string) (inside, error) {
		if r.there.mac == "" {
			return inside{}, errors.New("there is no device")
		}
		return r.there, nil
	}})
}

// code is the specification's code of what a call answers, 0 for success.
func (r *runtime) code(command string) int {
	r.t.Helper()
	_, err := r.call(command)
	if err == nil {
		return 0
	}
	var e *Error
	if !errors.As(err, &e) {
		r.t.Fatalf("%s: an error without a code: %v", command, err)
	}
	return e.Code
}

func (r *runtime) want(code int, command string) {
	r.t.Helper()
	if got := r.code(command); got != code {
		_, err := r.call(command)
		r.t.Errorf("%s: code %d, want %d: %v", command, got, code, err)
	}
}

func (r *runtime) records() []string {
	files, err := filepath.Glob(filepath.Join(r.conf["dataDir"].(string), "*", "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}

func TestLifeOfAnAttachment(t *testing.T) {
	r := newRuntime(t)
	got, err := r.call("ADD")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(got)
	const want = `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:52:46:00:00:07","mtu":1500,"sandbox":"/run/netns/c1"}],` +
		`"ips":[{"address":"10.0.0.4/24","gateway":"10.0.0.1","interface":0},{"address":"10.0.0.9/24","gateway":"10.0.0.1","interface":0},` +
		`{"address":"fd00::4/128","gateway":"fe80::1","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"},{"dst":"::/0","gw":"fe80::1"}],` +
		`"dns":{"nameservers":["168.63.129.16"],"domain":"x.internal.cloudapp.net","search":["x.internal.cloudapp.net"]}}`
	if string(b) != want {
		t.Errorf("result %s\nwant   %s", b, want)
	}
	told := r.with("prevResult", json.RawMessage(b))
	told.want(0, "CHECK")
	r.want(codeConfig, "CHECK") // without the result
	r.want(0, "ADD")            // again

	p := r.agent.ports["/nic/a"]
	broken := p
	broken.Ready, broken.Problem = false, "the device is gone"
	r.agent.ports["/nic/a"] = broken
	told.want(codeChanged, "CHECK")
	moved := p
	moved.Addresses = moved.Addresses[1:]
	r.agent.ports["/nic/a"] = moved
	told.want(codeChanged, "CHECK")
	r.agent.ports["/nic/a"] = p

	there := told.there
	for name, d := range map[string]inside{"gone": {}, "down": {mac: there.mac, addresses: there.addresses},
		"another MAC": {mac: "02:00:00:00:00:01", up: true, addresses: there.addresses}, "no address": {mac: there.mac, up: true}} {
		if told.there = d; told.code("CHECK") != codeChanged {
			t.Errorf("%s: not noticed", name)
		}
	}

	r.want(0, "DEL")
	if len(r.agent.ports) != 0 || len(r.records()) != 0 {
		t.Errorf("left: %v, %v", r.agent.ports, r.records())
	}
	told.want(codeChanged, "CHECK")
	r.want(0, "DEL")
	r.with("CNI_NETNS", "").want(0, "DEL")
	old, err := r.with("cniVersion", "0.4.0").call("ADD")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := json.Marshal(old); !strings.Contains(string(b), `{"version":"4","address":"10.0.0.4/24"`) || strings.Contains(string(b), "mtu") {
		t.Errorf("0.4.0: %s", b)
	}
}

// An interface that another container has stays that container's, whatever is called for the one that was refused.
func TestRefusedContainersTakeNothing(t *testing.T) {
	r := newRuntime(t)
	r.want(0, "ADD")
	other := r.with("CNI_CONTAINERID", "c2", "CNI_NETNS", "/run/netns/c2")
	other.want(codeConfig, "ADD")
	other.want(0, "DEL")
	if len(r.agent.ports) != 1 || len(r.records()) != 1 {
		t.Errorf("left: %v, %v", r.agent.ports, r.records())
	}
	r.with("cni.dev/valid-attachments", []any{map[string]any{"containerID": "c1", "ifname": "eth0"}}).want(0, "GC")
	if len(r.agent.ports) != 1 {
		t.Error("GC took what is valid")
	}
	r.with("name", "other", "cni.dev/valid-attachments", []any{}).want(0, "GC")
	if len(r.agent.ports) != 1 {
		t.Error("GC took another network's")
	}
	r.with("cni.dev/valid-attachments", []any{map[string]any{"containerID": "c1", "ifname": "eth1"}}).want(0, "GC")
	if len(r.agent.ports) != 0 || len(r.records()) != 0 {
		t.Errorf("GC left: %v, %v", r.agent.ports, r.records())
	}
}

func TestAgentAway(t *testing.T) {
	r := newRuntime(t)
	r.want(0, "STATUS")
	r.agent.down = fmt.Errorf("connection refused")
	r.want(codeAbsent, "STATUS")
	r.want(codeTryAgain, "ADD")
	if len(r.records()) != 1 {
		t.Error("an ADD that may have worked is not recorded")
	}
	r.want(codeTryAgain, "DEL")
	r.agent.down = nil
	r.want(0, "DEL")
	if len(r.records()) != 0 || slices.Contains(r.agent.log, "detach /nic/a") {
		t.Errorf("left %v, asked %v", r.records(), r.agent.log)
	}
}

func TestWhichInterface(t *testing.T) {
	r := newRuntime(t).with("CNI_ARGS", "")
	r.want(codeConfig, "ADD")
	for nic, o := range map[string]*runtime{
		"/a": r.with("nic", "/a"),
		"/b": r.with("nic", "/a", "args", map[string]any{"cni": map[string]any{"nic": "/b"}}),
		"/c": r.with("nic", "/a", "args", map[string]any{"cni": map[string]any{"nic": "/b"}}, "runtimeConfig", map[string]any{"io.ringfence.nic": "/c"}),
		"/d": r.with("nic", "/a", "runtimeConfig", map[string]any{"io.ringfence.nic": "/c"}, "CNI_ARGS", "RINGFENCE_NIC=/d"),
	} {
		o.env["CNI_CONTAINERID"] = "c" + nic[1:]
		o.want(0, "ADD")
		if _, ok := r.agent.ports[nic]; !ok {
			t.Errorf("%s is not attached: %v", nic, r.agent.ports)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	r := newRuntime(t)
	subnet := "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/a"
	for name, c := range map[string]struct {
		r    *runtime
		code int
	}{
		"version":        {r.with("cniVersion", "0.2.0"), codeVersion},
		"no version":     {r.with("cniVersion", ""), codeVersion},
		"no name":        {r.with("name", ""), codeConfig},
		"path as name":   {r.with("name", "../x"), codeConfig},
		"socket":         {r.with("socket", "agent.sock"), codeConfig},
		"both":           {r.with("nic", "/a", "subnet", subnet, "endpoint", "https://x", "tokenFile", "/t"), codeConfig},
		"no endpoint":    {r.with("subnet", subnet), codeConfig},
		"plain endpoint": {r.with("subnet", subnet, "endpoint", "http://x", "tokenFile", "/t"), codeConfig},
		"no subnet":      {r.with("endpoint", "https://x"), codeConfig},
		"subnet":         {r.with("subnet", "/subscriptions/s", "endpoint", "https://x", "tokenFile", "/t"), codeConfig},
		"container":      {r.with("CNI_CONTAINERID", "../c"), codeEnv},
		"no container":   {r.with("CNI_CONTAINERID", ""), codeEnv},
		"device":         {r.with("CNI_IFNAME", "a/b"), codeEnv},
		"long device":    {r.with("CNI_IFNAME", "sixteenletters16"), codeEnv},
		"no namespace":   {r.with("CNI_NETNS", ""), codeEnv},
		"args":           {r.with("CNI_ARGS", "x"), codeEnv},
	} {
		if got := c.r.code("ADD"); got != c.code {
			t.Errorf("%s: code %d, want %d", name, got, c.code)
		}
	}
	r.want(codeEnv, "MOVE")
	r.want(codeEnv, "")
	if len(r.agent.log) != 0 || len(r.records()) != 0 {
		t.Errorf("something was done: %v %v", r.agent.log, r.records())
	}
}

// An interface that the network makes lives as long as its attachment.
func TestInterfacesOfASubnet(t *testing.T) {
	nics := map[string]map[string]any{}
	states := []string{"Updating", "Updating"}
	socket := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Query().Get("api-version") == "" {
			w.WriteHeader(401)
			return
		}
		answer := map[string]any{"location": "westeurope"}
		switch {
		case strings.HasSuffix(r.URL.Path, "/virtualNetworks/v"):
		case r.Method == "PUT":
			json.NewDecoder(r.Body).Decode(&answer)
			nics[r.URL.Path] = answer
			fallthrough
		default:
			nic, ok := nics[r.URL.Path]
			if !ok {
				w.WriteHeader(404)
				return
			}
			if r.Method == "DELETE" {
				delete(nics, r.URL.Path)
			}
			state := "Succeeded"
			if len(states) > 0 {
				state, states = states[0], states[1:]
			}
			nic["properties"].(map[string]any)["provisioningState"] = state
			answer = nic
		}
		json.NewEncoder(w).Encode(answer)
	}))
	api.Listener = l
	api.Start()
	defer api.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t).with("CNI_ARGS", "", "subnet", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/a",
		"endpoint", "unix:"+socket, "tokenFile", token, "networkSecurityGroup", "/nsg", "applicationSecurityGroups", []string{"/asg"})
	for _, c := range []string{"c1", "c2"} {
		r.with("CNI_CONTAINERID", c).want(0, "ADD")
	}
	if len(nics) != 2 || len(r.agent.ports) != 2 {
		t.Fatalf("made %v", nics)
	}
	for id, nic := range nics {
		b, _ := json.Marshal(nic)
		for _, want := range []string{`"location":"westeurope"`, `"networkSecurityGroup":{"id":"/nsg"}`, `"applicationSecurityGroups":[{"id":"/asg"}]`, `/subnets/a"}`} {
			if !strings.Contains(string(b), want) || !strings.Contains(id, "/networkInterfaces/cni-c") {
				t.Errorf("%s lacks %s: %s", id, want, b)
			}
		}
	}
	r.want(0, "DEL")
	r.want(0, "DEL")
	if len(nics) != 1 || len(r.agent.ports) != 1 {
		t.Errorf("left %v", nics)
	}
	r.with("cni.dev/valid-attachments", []any{}).want(0, "GC")
	if len(nics) != 0 || len(r.agent.ports) != 0 || len(r.records()) != 0 {
		t.Errorf("left %v %v %v", nics, r.agent.ports, r.records())
	}
	if err := os.WriteFile(token, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.want(codeConfig, "ADD")
}

func TestMainSpeaksToRuntimes(t *testing.T) {
	env := map[string]string{"CNI_COMMAND": "VERSION"}
	var out strings.Builder
	if code := Main(context.Background(), func(n string) string { return env[n] }, strings.NewReader(`{"cniVersion":"1.0.0"}`), &out); code != 0 ||
		out.String() != `{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}`+"\n" {
		t.Errorf("%d %s", code, out.String())
	}
	out.Reset()
	env["CNI_COMMAND"] = "ADD"
	if code := Main(context.Background(), func(n string) string { return env[n] }, strings.NewReader(`{`), &out); code != 1 || !strings.Contains(out.String(), `"code":6`) {
		t.Errorf("%d %s", code, out.String())
	}
}

func FuzzCall(f *testing.F) {
	f.Add("ADD", `{"cniVersion":"1.1.0","name":"n","nic":"/a"}`, "c1", "eth0", "A=b")
	f.Add("GC", `{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":[{"containerID":"c","ifname":"e"}]}`, "", "", "")
	f.Add("CHECK", `{"cniVersion":"1.0.0","name":"n","prevResult":{"ips":[{"address":"10.0.0.4/24","interface":9}]}}`, "c1", "eth0", "")
	f.Fuzz(func(t *testing.T, command, conf, container, device, args string) {
		env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": device, "CNI_ARGS": args, "CNI_NETNS": "/n"}
		if c, err := parse([]byte(conf)); err == nil && (c.DataDir != defaultData || c.Subnet != "") {
			return // files stay in the test's directory, and nothing is dialled
		}
		conf = strings.Replace(conf, "{", `{"dataDir":"`+t.TempDir()+`",`, 1)
		call(context.Background(), func(n string) string { return env[n] }, strings.NewReader(conf), world{func(string) agent { return newFake() }, func(string, string) (inside, error) { return inside{}, nil }})
	})
}
