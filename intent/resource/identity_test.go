package resource

import (
	"strings"
	"testing"
)

func TestBodyOfAnotherResource(t *testing.T) {
	v := doc(t, "virtualNetworks/V", `{"location":"westus2","properties":{`+net10+`}}`)
	top, child := parse(t, "applicationSecurityGroups/v"), parse(t, "virtualNetworks/v/subnets/Web")
	for body, want := range map[string]string{
		`{"name":"V","id":"@applicationSecurityGroups/V","type":"microsoft.network/ApplicationSecuritygroups"}`: "",
		`{"name":null,"id":"","type":null}`:     "",
		`{"name":"w"}`:                          "name",
		`{"name":7}`:                            "name",
		`{"id":"@applicationSecurityGroups/w"}`: "id",
		`{"type":"Microsoft.Network/networkSecurityGroups","id":"x"}`:       "id type",
		`{"name":"w","id":{},"type":["Microsoft.Network/virtualNetworks"]}`: "name id type",
		`{"id":"/subscriptions/other/resourceGroups/g/providers/x/y/z"}`:    "id",
		`{"name":"V/subnets","etag":"anything"}`:                            "name",
	} {
		_, faults := Put(nil, top, []byte(ids(body)), "2025-03-01")
		var got []string
		for _, f := range faults {
			if f.Code != "InvalidRequestContent" {
				t.Errorf("%s: %v", body, f)
			}
			got = append(got, f.Target)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: faults at %v, want %q", body, got, want)
		}
	}
	for name, refused := range map[string]bool{"v/web": false, "WEB": false, "other": true, "v": true} {
		body := `{"name":"` + name + `","properties":{"addressPrefix":"10.0.0.0/24"}}`
		if _, faults := Put(v, child, []byte(body), "2025-03-01"); (len(faults) > 0) != refused {
			t.Errorf("%s: %v", body, faults)
		}
	}
}

func TestTags(t *testing.T) {
	m := world(t)
	long := strings.Repeat("ä", 256)
	for tags, want := range map[string]string{
		`{}`: "", `{"a b":"c<d>","hidden-link:/x":""}`: "", `{"` + long + long + `":"` + long + `"}`: "",
		`{"` + long + long + `x":""}`: "InvalidTags", `{"a":"` + long + `x"}`: "InvalidTags", `{"":"x"}`: "InvalidTagNameCharacters",
		`{"a\u0000b":"x"}`: "InvalidTagNameCharacters", `{"a\nb":"x"}`: "InvalidTagNameCharacters", `{"a<":"x"}`: "InvalidTagNameCharacters", `{"a":"\u0000"}`: "InvalidTags",
		`{` + strings.Join(many(50, func(i int) string { return `"t` + strings.Repeat("i", i) + `":""` }), ",") + `}`: "",
		`{` + strings.Join(many(51, func(i int) string { return `"t` + strings.Repeat("i", i) + `":""` }), ",") + `}`: "InvalidTags",
	} {
		f := Validate(doc(t, "applicationSecurityGroups/z", `{"location":"westus2","tags":`+tags+`}`), m)
		if got, _, _ := strings.Cut(codes(f), "@"); got != want {
			t.Errorf("%s: %s, want %q", shorten(tags), codes(f), want)
		}
	}
}
