package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence/intent/identity"
	"ringfence/intent/identity/secret"
	"ringfence/pki"
)

// credentialsFile holds the secrets of the service principals that are made here: the operator's to read, nobody else's. The server has
// only hashes of them. Without the file new ones are made.
const credentialsFile = "credentials.yaml"

// credential is what one tenant's first service principal signs in with.
type credential struct {
	Tenant string `yaml:"tenant"` // id
	Client string `yaml:"client_id"`
	Secret string `yaml:"client_secret"`
	Hash   string `yaml:"secret_hash"` // kept, so that it is the same at every start and at every server
}

// ensureClients gives every tenant that names no clients of its own one that owns its subscriptions. A server that joined makes none:
// what it got from the others names them already.
func (c *Config) ensureClients() error {
	if _, err := os.Stat(c.file(clusterFile)); err == nil {
		return nil
	}
	known, err := c.credentials()
	if err != nil {
		return err
	}
	made := false
	for i := range c.Tenants {
		t := &c.Tenants[i]
		if len(t.Clients) > 0 {
			continue
		}
		at := slices.IndexFunc(known, func(k credential) bool { return strings.EqualFold(k.Tenant, t.ID) })
		if at < 0 {
			s := secret.New()
			known, at, made = append(known, credential{t.ID, newID(), s, secret.Hash(s)}), len(known), true
		}
		t.Clients = []identity.ServicePrincipal{{App: known[at].Client, Name: t.Name + "-owner", Hash: known[at].Hash, Role: "Owner"}}
	}
	if !made {
		return nil
	}
	b, err := yaml.Marshal(known)
	if err == nil {
		err = pki.WriteFile(c.file(credentialsFile), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	return nil
}

// credentials are those that were made before.
func (c *Config) credentials() ([]credential, error) {
	b, err := os.ReadFile(c.file(credentialsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var known []credential
	if err == nil {
		err = yaml.Unmarshal(b, &known)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %s: %w", c.file(credentialsFile), err)
	}
	return known, nil
}
