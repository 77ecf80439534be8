package cli

import (
	"fmt"
	"io"
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

// tenant is the one of --as, else the lab's first.
func (a *app) tenant() (*lab.State, lab.Tenant, error) {
	st, err := a.state()
	if err != nil {
		return nil, lab.Tenant{}, err
	}
	if a.flags.As == "" {
		return st, st.Tenants[0], nil
	}
	t, ok := st.Tenant(a.flags.As)
	if !ok {
		_, err := a.newClient() // says which there are
		return nil, lab.Tenant{}, err
	}
	return st, t, nil
}

// printEnv writes what a shell can evaluate; --output json and yaml give the same as an object.
func (a *app) printEnv(all []variable, notes ...string) error {
	if f := a.flags.Output; f == "json" || f == "yaml" || a.flags.Query != "" {
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
		{"ARM_METADATA_HOSTNAME", hostOf(st.Endpoint)}, {"ARM_TENANT_ID", t.ID}, {"ARM_SUBSCRIPTION_ID", t.Subscription},
		{"ARM_CLIENT_ID", t.ClientID}, {"ARM_CLIENT_SECRET", t.ClientSecret}, {"ARM_RESOURCE_PROVIDER_REGISTRATIONS", "none"},
		{"SSL_CERT_FILE", st.CA},
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
		{"AZURE_AUTHORITY_HOST", st.Endpoint + "/"}, {"RINGFENCE_ARM_ENDPOINT", st.Endpoint},
		{"SSL_CERT_FILE", st.CA}, {"NODE_EXTRA_CA_CERTS", st.CA}, {"REQUESTS_CA_BUNDLE", st.CA},
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
		{"ARM_CLOUD_METADATA_URL", st.Endpoint + "/metadata/endpoints?api-version=2019-05-01"}, {"RINGFENCE_ARM_ENDPOINT", st.Endpoint},
		{"AZURE_TENANT_ID", t.ID}, {"AZURE_CLIENT_ID", t.ClientID}, {"AZURE_CLIENT_SECRET", t.ClientSecret},
		{"AZURE_CORE_INSTANCE_DISCOVERY", "false"}, {"REQUESTS_CA_BUNDLE", st.CA},
	}, "az as the owner of the subscription of tenant "+t.Name+"; then:",
		`az cloud register -n Ringfence --endpoint-resource-manager "$RINGFENCE_ARM_ENDPOINT" && az cloud set -n Ringfence`,
		`az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID"`)
}
