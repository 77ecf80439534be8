package arm

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

const deploy = "~G/providers/Microsoft.Resources/deployments/d"

func deployment(template, parameters string) string {
	return `{"properties":{"mode":"Incremental","template":` + template + `,"parameters":` + parameters + `}}`
}

const small = `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
	"parameters":{"name":{"type":"string"},"secret":{"type":"secureString","defaultValue":"s3cret"},"prefix":{"type":"string","defaultValue":"10.0.0.0/24"}},
	"resources":[
	{"type":"Microsoft.Network/virtualNetworks","apiVersion":"2023-09-01","name":"[parameters('name')]","location":"[resourceGroup().location]",
	 "dependsOn":["[resourceId('Microsoft.Network/networkSecurityGroups','nsg')]"],
	 "properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"[parameters('prefix')]",
	  "networkSecurityGroup":{"id":"[resourceId('Microsoft.Network/networkSecurityGroups','nsg')]"}}}]}},
	{"type":"Microsoft.Network/networkSecurityGroups","apiVersion":"2023-09-01","name":"nsg","location":"[resourceGroup().location]","properties":{}}],
	"outputs":{"id":{"type":"string","value":"[resourceId('Microsoft.Network/virtualNetworks',parameters('name'))]"}}}`

func TestDeployment(t *testing.T) {
	a := newAPI(t)
	r := a.ok(201, "PUT", deploy, deployment(small, `{"name":{"value":"v"}}`))
	if field(t, r.body, "properties.provisioningState") != "Succeeded" || field(t, r.body, "properties.outputs.id.value") != names("~N/virtualNetworks/v") {
		t.Fatal(r.body)
	}
	if strings.Contains(r.body, "s3cret") || strings.Contains(r.body, "contentVersion") {
		t.Error("the answer tells a secret or repeats the template:", r.body)
	}
	g := a.ok(200, "GET", deploy, "")
	for path, want := range map[string]any{
		"id": names(deploy), "type": "Microsoft.Resources/deployments", "properties.mode": "Incremental",
		"properties.parameters.name.value": "v", "properties.parameters.secret.type": "SecureString", "properties.parameters.secret.value": nil,
		"properties.outputResources.0.id":                    names("~N/networkSecurityGroups/nsg"),
		"properties.dependencies.0.resourceName":             "v",
		"properties.dependencies.0.dependsOn.0.id":           names("~N/networkSecurityGroups/nsg"),
		"properties.providers.0.namespace":                   "Microsoft.Network",
		"properties.providers.0.resourceTypes.0.locations.0": "westus2",
	} {
		if got := field(t, g.body, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if v := a.ok(200, "GET", "~N/virtualNetworks/v", ""); field(t, v.body, "properties.subnets.0.properties.networkSecurityGroup.id") != names("~N/networkSecurityGroups/nsg") {
		t.Error(v.body)
	}
	o := a.ok(200, "GET", deploy+"/operations", "")
	if field(t, o.body, "value.1.properties.targetResource.resourceName") != "v" || field(t, o.body, "value.0.properties.statusCode") != "Created" {
		t.Error(o.body)
	}
	one, _ := field(t, o.body, "value.0.operationId").(string)
	a.ok(200, "GET", deploy+"/operations/"+one, "")
	a.ok(404, "GET", deploy+"/operations/none", "")
	if e := a.ok(200, "POST", deploy+"/exportTemplate", ""); field(t, e.body, "template.contentVersion") != "1.0.0.0" {
		t.Error(e.body)
	}
	a.ok(200, "PUT", deploy, deployment(small, `{"name":{"value":"v"}}`))
	if l := a.ok(200, "GET", "~G/resources", ""); strings.Count(l.body, `"id"`) != 2 {
		t.Error(l.body)
	}
	a.ok(204, "DELETE", deploy, "")
	a.ok(204, "DELETE", deploy, "")
	a.ok(404, "GET", deploy, "")
}

func TestDeploymentRefusedBeforeAnythingIsMade(t *testing.T) {
	a := newAPI(t)
	before := a.store.rev
	for name, c := range map[string]struct{ body, code, text string }{
		"no template":       {`{"properties":{"mode":"Incremental"}}`, "InvalidRequestContent", "properties.template"},
		"complete mode":     {strings.Replace(deployment(small, `{}`), "Incremental", "Complete", 1), "RingfenceNotSupported", "properties.mode"},
		"missing parameter": {deployment(small, `{}`), "InvalidTemplate", "'name'"},
		"unknown parameter": {deployment(small, `{"name":{"value":"v"},"other":{"value":1}}`), "InvalidTemplate", "'other'"},
		"unknown function":  {deployment(strings.Replace(small, "resourceGroup().location", "nowhere()", 1), `{"name":{"value":"v"}}`), "InvalidTemplate", "nowhere"},
		"unknown type":      {deployment(strings.Replace(small, `"Microsoft.Network/networkSecurityGroups","api`, `"Microsoft.Sql/servers","api`, 1), `{"name":{"value":"v"}}`), "InvalidResourceType", "Microsoft.Sql/servers"},
		"bad prefix":        {deployment(small, `{"name":{"value":"v"},"prefix":{"value":"10.9.0.0/24"}}`), "InvalidTemplateDeployment", "Subnet 's' is not valid because its IP address range is outside"},
		"unknown field":     {deployment(strings.Replace(small, `"properties":{}`, `"properties":{"colour":1}`, 1), `{"name":{"value":"v"}}`), "InvalidTemplateDeployment", ""},
		"template link":     {`{"properties":{"mode":"Incremental","templateLink":{"uri":"https://example.org"}}}`, "RingfenceNotSupported", "templateLink"},
	} {
		t.Run(name, func(t *testing.T) {
			for method, p := range map[string]string{"PUT": deploy, "POST": deploy + "/validate"} {
				r := a.do(method, p, c.body)
				if code, _, _, _ := r.errorOf(t); r.status != 400 || code != c.code || !strings.Contains(r.body, c.text) {
					t.Errorf("%s: %d %s", method, r.status, r.body)
				}
			}
		})
	}
	if a.store.rev != before {
		t.Error("a refused deployment changed the store")
	}
	a.ok(200, "POST", deploy+"/validate", deployment(small, `{"name":{"value":"v"}}`))
	a.ok(404, "GET", deploy, "")
	a.ok(404, "PUT", strings.Replace(deploy, "~G", "~G0", 1), deployment(small, `{"name":{"value":"v"}}`))
}

// What can only be found while writing fails the deployment, and is told in its operations.
func TestDeploymentThatFails(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	a.nic("n")
	text := strings.Replace(small, `"properties":{}`, `"tags":{"at":"[reference(resourceId('Microsoft.Network/networkInterfaces','n')).provisioningState]"},"properties":{"securityRules":[{"name":"[reference(resourceId('Microsoft.Network/networkInterfaces','n')).ipConfigurations[0].properties.privateIPAddress]","properties":{"protocol":"*","access":"Allow","direction":"Inbound","priority":1,"sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"*","destinationAddressPrefix":"*"}}]}`, 1)
	r := a.ok(201, "PUT", deploy, deployment(text, `{"name":{"value":"w"}}`))
	if field(t, r.body, "properties.provisioningState") != "Failed" || field(t, r.body, "properties.error.details.0.code") != "SecurityRuleInvalidPriority" {
		t.Fatal(r.body)
	}
	poll := strings.TrimPrefix(r.header.Get("Azure-AsyncOperation"), "http://example.com")
	p := a.ok(200, "GET", poll, "")
	if field(t, p.body, "status") != "Failed" || field(t, p.body, "error.code") != "DeploymentFailed" || field(t, p.body, "error.details.0.code") != "SecurityRuleInvalidPriority" {
		t.Error(p.body)
	}
	o := a.ok(200, "GET", deploy+"/operations", "")
	if field(t, o.body, "value.0.properties.provisioningState") != "Failed" || field(t, o.body, "value.1") != nil {
		t.Error(o.body) // the network depends on the group that failed
	}
	a.ok(404, "GET", "~N/virtualNetworks/w", "")
}

func TestDeploymentWaitsToBeEnforced(t *testing.T) {
	a := newAPI(t)
	a.store.enforce = never
	r := a.ok(201, "PUT", deploy, deployment(small, `{"name":{"value":"v"}}`))
	if field(t, r.body, "properties.provisioningState") != "Running" {
		t.Error(r.body)
	}
	poll := strings.TrimPrefix(r.header.Get("Azure-AsyncOperation"), "http://example.com")
	if p := a.ok(200, "GET", poll, ""); field(t, p.body, "status") != "InProgress" {
		t.Error(p.body)
	}
	if code, _, _, _ := a.ok(409, "PUT", deploy, deployment(small, `{"name":{"value":"v"}}`)).errorOf(t); code != "DeploymentActive" {
		t.Error(code)
	}
}

// Templates that others wrote deploy as they are.
func TestRealTemplates(t *testing.T) {
	dir := "../template/testdata/microsoft/"
	for name, resources := range map[string]int{"nsg-dmz-in-vnet": 4, "vnet-two-subnets": 1, "security-group-create": 2} {
		text, err := os.ReadFile(dir + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		given, err := os.ReadFile(dir + name + ".parameters.json")
		if err != nil {
			t.Fatal(err)
		}
		var p struct{ Parameters json.RawMessage }
		if err := json.Unmarshal(given, &p); err != nil {
			t.Fatal(err)
		}
		a := newAPI(t)
		r := a.ok(201, "PUT", deploy, deployment(string(text), string(p.Parameters)))
		if field(t, r.body, "properties.provisioningState") != "Succeeded" {
			t.Errorf("%s: %s", name, r.body)
		}
		if l := a.ok(200, "GET", "~G/resources?$top=100", ""); strings.Count(l.body, `"id"`) != min(resources, 3) {
			t.Errorf("%s: made %s", name, l.body)
		}
	}
}

func TestDeploymentThatLostItsServer(t *testing.T) {
	a := newAPI(t)
	a.store.enforce = never
	a.ok(201, "PUT", deploy, deployment(small, `{"name":{"value":"v"}}`))
	other := newAPI(t)
	other.store.docs = a.store.docs
	if g := other.ok(200, "GET", deploy, ""); field(t, g.body, "properties.provisioningState") != "Running" {
		t.Error(g.body) // it may be another server's
	}
	d := other.store.docs[strings.ToLower(names(deploy))]
	var rec record
	if err := json.Unmarshal(d.Body, &rec); err != nil {
		t.Fatal(err)
	}
	rec.Properties.Timestamp = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)
	d.Body, _ = json.Marshal(rec)
	if g := other.ok(200, "GET", deploy, ""); field(t, g.body, "properties.provisioningState") != "Failed" || !strings.Contains(g.body, "deploy again") {
		t.Error(g.body)
	}
	if l := other.ok(200, "GET", "~G/providers/Microsoft.Resources/deployments", ""); field(t, l.body, "value.0.properties.provisioningState") != "Failed" {
		t.Error(l.body)
	}
}

// Faults of a template tell the lines and columns of the text that was sent.
func TestTemplatePositions(t *testing.T) {
	a := newAPI(t)
	body := "{\"properties\":{\"mode\":\"Incremental\",\"template\":{\n  \"$schema\":\"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#\",\"contentVersion\":\"1.0.0.0\",\n  \"resources\":[\n    {\"bogus\":1}]}}}"
	r := a.do("PUT", "~G/providers/Microsoft.Resources/deployments/d", body)
	if r.status != 400 || !strings.Contains(r.body, "line 4") {
		t.Errorf("%d %s", r.status, r.body)
	}
}
