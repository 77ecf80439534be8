// Package clients drives Ringfence with Azure's own SDK for Go, unchanged, as a tenant would: over TLS, with tokens that a service principal gets for its secret, against a lab.
//
// In: bin/ringfence (`make build`). Out: what the SDK's typed clients, pagers, pollers and errors make of the answers. It is a
// module of its own, so that nobody who builds Ringfence has to build the SDK.
package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

const labName = "sdk"

// state is what these tests need of the lab's state file.
type state struct {
	Endpoint string   `json:"endpoint"`
	CA       string   `json:"ca"`
	Tenants  []tenant `json:"tenants"`
}

type tenant struct {
	Name         string `json:"name"`
	Subscription string `json:"subscription"`
	ID           string `json:"id"`
	Token        string `json:"token"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

var lab state

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run keeps one lab for all tests; every test has resource groups of its own.
func run(m *testing.M) int {
	ringfence, err := filepath.Abs("../../bin/ringfence")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	command := func(args ...string) error {
		out, err := exec.Command(ringfence, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ringfence %v: %w\n%s", args, err, out)
		}
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "ringfence-sdk.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil { // two of these tests on one machine take turns: the lab has one name
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lock:", err)
		return 1
	}
	defer lock.Close()
	_ = command("lab", "down", "--name", labName) // what a crash has left; there is mostly nothing
	if err := command("lab", "up", "--name", labName, "--hosts", "2"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := command("lab", "down", "--name", labName); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	b, err := os.ReadFile(filepath.Join("/run/ringfence", labName, "lab.json"))
	if err == nil {
		err = json.Unmarshal(b, &lab)
	}
	if err != nil || len(lab.Tenants) < 2 || lab.Endpoint == "" {
		fmt.Fprintf(os.Stderr, "the lab's state file: %v, %+v\n", err, lab)
		return 1
	}
	// HashiCorp's clients know no authority of their own, only the system's.
	if err := os.Setenv("SSL_CERT_FILE", lab.CA); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// static is a credential that has its token already.
type static string

func (s static) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(s), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// options point the SDK at the lab: its endpoint as a cloud of its own, its authority as the only one trusted.
func options(t *testing.T) *arm.ClientOptions {
	t.Helper()
	pem, err := os.ReadFile(lab.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", lab.CA)
	}
	return &arm.ClientOptions{
		DisableRPRegistration: true,
		ClientOptions: policy.ClientOptions{
			Transport: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
			Retry:     policy.RetryOptions{MaxRetries: -1}, // an answer that asks for a retry is a finding
			Cloud: cloud.Configuration{
				ActiveDirectoryAuthorityHost: lab.Endpoint + "/",
				Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
					cloud.ResourceManager: {Endpoint: lab.Endpoint, Audience: lab.Endpoint},
				},
			},
		},
	}
}

// azure is one tenant's clients.
type azure struct {
	sub     string
	groups  *armresources.ResourceGroupsClient
	all     *armresources.Client
	vnets   *armnetwork.VirtualNetworksClient
	subnets *armnetwork.SubnetsClient
	nsgs    *armnetwork.SecurityGroupsClient
	rules   *armnetwork.SecurityRulesClient
	builtin *armnetwork.DefaultSecurityRulesClient
	asgs    *armnetwork.ApplicationSecurityGroupsClient
	nics    *armnetwork.InterfacesClient
	vms     *armcompute.VirtualMachinesClient
}

// as makes the clients of a tenant with a token that is there already; sub and token are separate so that a test can mix them.
func as(t *testing.T, sub, token string) *azure { return with(t, sub, static(token)) }

// login is the credential of a tenant's service principal: Azure's own library asks the lab for tokens.
func login(t *testing.T, of tenant) azcore.TokenCredential {
	t.Helper()
	c, err := azidentity.NewClientSecretCredential(of.ID, of.ClientID, of.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options(t).ClientOptions, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func with(t *testing.T, sub string, credential azcore.TokenCredential) *azure {
	t.Helper()
	network, err := armnetwork.NewClientFactory(sub, credential, options(t))
	if err != nil {
		t.Fatal(err)
	}
	resources, err := armresources.NewClientFactory(sub, credential, options(t))
	if err != nil {
		t.Fatal(err)
	}
	compute, err := armcompute.NewClientFactory(sub, credential, options(t))
	if err != nil {
		t.Fatal(err)
	}
	return &azure{
		sub: sub, groups: resources.NewResourceGroupsClient(), all: resources.NewClient(),
		vnets: network.NewVirtualNetworksClient(), subnets: network.NewSubnetsClient(),
		nsgs: network.NewSecurityGroupsClient(), rules: network.NewSecurityRulesClient(), builtin: network.NewDefaultSecurityRulesClient(),
		asgs: network.NewApplicationSecurityGroupsClient(), nics: network.NewInterfacesClient(), vms: compute.NewVirtualMachinesClient(),
	}
}

// contoso is the first tenant's clients.
func contoso(t *testing.T) *azure {
	return with(t, lab.Tenants[0].Subscription, login(t, lab.Tenants[0]))
}

// fabrikam is the second tenant's.
func fabrikam(t *testing.T) *azure {
	return with(t, lab.Tenants[1].Subscription, login(t, lab.Tenants[1]))
}
