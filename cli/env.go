package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"ringfence/lab"
)

type envCommands struct {
	Terraform envTerraform `cmd:"" help:"For Terraform's azurerm provider."`
	SDK       envSDK       `cmd:"" name:"sdk" help:"For Azure's SDKs."`
	AZ        envAZ        `cmd:"" name:"az" help:"For the az command line."`
}

// variable is one environment variable.
type variable struct{ name, value string }

// tenant is the one of --as, else the first; with a service principal whose secret is known here.
func (a *app) tenant() (*site, lab.Tenant, error) {
	p, err := a.site()
	if err != nil {
		return nil, lab.Tenant{}, err
	}
	t, err := p.tenant(a.flags.As)
	if err == nil && t.ClientID == "" {
		err = fmt.Errorf("tenant %s: its service principals are the configuration's, and no secret of them is kept here: `ringfence ad sp credential reset` makes one", t.Name)
	}
	return p, t, err
}

// trusted leaves out what names a file to trust by where there is none: the operator's own certificate is trusted as any other.
func trusted(all []variable) []variable {
	return slices.DeleteFunc(all, func(v variable) bool { return v.value == "" })
}

// printEnv writes what a shell can evaluate; --output json and yaml give the same as an object.
func (a *app) printEnv(all []variable, notes ...string) error {
	all = trusted(all)
	if a.structured() {
		m := map[string]any{}
		for _, v := range all {
			m[v.name] = v.value
		}
		return a.print(m)
	}
	for _, n := range notes {
		if _, err := io.WriteString(a.out, "# "+n+"\n"); err != nil {
			return err
		}
	}
	for _, v := range all {
		if _, err := fmt.Fprintf(a.out, "export %s=%s\n", v.name, quoted(v.value)); err != nil {
			return err
		}
	}
	return nil
}

// hostOf is an endpoint without its scheme.
func hostOf(endpoint string) string { return strings.TrimPrefix(endpoint, "https://") }

type envTerraform struct{}

func (envTerraform) Help() string {
	return `The provider finds everything through the metadata document of the endpoint. Its configuration needs only: provider "azurerm" { features {} }

Examples:
  eval "$(ringfence env terraform)" && terraform apply
  eval "$(ringfence env terraform --as fabrikam)"`
}

func (c *envTerraform) Run(a *app) error {
	st, t, err := a.tenant()
	if err != nil {
		return err
	}
	return a.printEnv([]variable{
		{"ARM_METADATA_HOSTNAME", hostOf(st.endpoint)}, {"ARM_TENANT_ID", t.ID}, {"ARM_SUBSCRIPTION_ID", t.Subscription},
		{"ARM_CLIENT_ID", t.ClientID}, {"ARM_CLIENT_SECRET", t.ClientSecret}, {"ARM_RESOURCE_PROVIDER_REGISTRATIONS", "none"},
		{"SSL_CERT_FILE", st.ca},
	}, "Terraform as the owner of the subscription of tenant "+t.Name)
}

type envSDK struct{}

func (envSDK) Help() string {
	return `Azure's SDKs take the credentials from the environment; the endpoint is given in code: RINGFENCE_ARM_ENDPOINT is endpoint and audience of the resource manager in a cloud.Configuration (Go),
and the option endpoint with the scope RINGFENCE_ARM_ENDPOINT/.default (JavaScript, Python).

Example:
  eval "$(ringfence env sdk)" && go run ./yourprogram`
}

func (c *envSDK) Run(a *app) error {
	st, t, err := a.tenant()
	if err != nil {
		return err
	}
	return a.printEnv([]variable{
		{"AZURE_TENANT_ID", t.ID}, {"AZURE_SUBSCRIPTION_ID", t.Subscription}, {"AZURE_CLIENT_ID", t.ClientID}, {"AZURE_CLIENT_SECRET", t.ClientSecret},
		{"AZURE_AUTHORITY_HOST", st.endpoint + "/"}, {"RINGFENCE_ARM_ENDPOINT", st.endpoint},
		{"SSL_CERT_FILE", st.ca}, {"NODE_EXTRA_CA_CERTS", st.ca}, {"REQUESTS_CA_BUNDLE", st.ca},
	}, "Azure's SDKs as the owner of the subscription of tenant "+t.Name)
}

type envAZ struct{}

func (envAZ) Help() string {
	return "Example:\n  eval \"$(ringfence env az)\" && az cloud register -n Ringfence --endpoint-resource-manager \"$RINGFENCE_ARM_ENDPOINT\" && az cloud set -n Ringfence && az login --service-principal -u \"$AZURE_CLIENT_ID\" -p \"$AZURE_CLIENT_SECRET\" --tenant \"$AZURE_TENANT_ID\""
}

func (c *envAZ) Run(a *app) error {
	st, t, err := a.tenant()
	if err != nil {
		return err
	}
	return a.printEnv([]variable{
		{"ARM_CLOUD_METADATA_URL", st.endpoint + "/metadata/endpoints?api-version=2019-05-01"}, {"RINGFENCE_ARM_ENDPOINT", st.endpoint},
		{"AZURE_TENANT_ID", t.ID}, {"AZURE_CLIENT_ID", t.ClientID}, {"AZURE_CLIENT_SECRET", t.ClientSecret},
		{"AZURE_CORE_INSTANCE_DISCOVERY", "false"}, {"REQUESTS_CA_BUNDLE", st.ca},
	}, "az as the owner of the subscription of tenant "+t.Name+"; then:",
		`az cloud register -n Ringfence --endpoint-resource-manager "$RINGFENCE_ARM_ENDPOINT" && az cloud set -n Ringfence`,
		`az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID"`)
}
