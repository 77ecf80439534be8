package login

import (
	"net/http"
	"strings"

	"ringfence/intent/identity"
)

// cloudName is how clients list this cloud.
const cloudName = "Ringfence"

// metadata answers /metadata/endpoints: in Azure's own three shapes, by api-version.
func (l *Login) metadata(w http.ResponseWriter, r *http.Request) {
	version := ""
	for k, v := range r.URL.Query() {
		if strings.EqualFold(k, "api-version") {
			version = v[0]
		}
	}
	b := base(r)
	switch {
	case version == "":
		answer(w, http.StatusBadRequest, map[string]any{"error": map[string]string{"code": "MissingApiVersionParameter",
			"message": "The api-version query parameter (?api-version=) is required for all requests."}})
	case version < "2018-01-01":
		answer(w, http.StatusOK, map[string]any{
			"galleryEndpoint": b + "/gallery", "graphEndpoint": graph(b), "portalEndpoint": b + "/portal",
			"authentication": map[string]any{"loginEndpoint": b, "audiences": []string{b}},
		})
	case version < "2019-05-01":
		locations := []string{}
		for _, one := range l.Locations {
			locations = append(locations, strings.ToLower(strings.ReplaceAll(one, " ", "")))
		}
		answer(w, http.StatusOK, map[string]any{
			"galleryEndpoint": b + "/gallery", "graphEndpoint": graph(b), "portalEndpoint": b + "/portal",
			"graphAudience": graph(b), "authentication": authentication(b),
			"cloudEndpoint": map[string]any{cloudName: map[string]any{"endpoint": strings.TrimPrefix(b, "https://"), "locations": locations}},
		})
	case version < "2022-09-01":
		answer(w, http.StatusOK, []any{cloud(b)})
	default:
		answer(w, http.StatusOK, cloud(b))
	}
}

func graph(b string) string { return b + "/graph" }

func authentication(b string) map[string]any {
	return map[string]any{"loginEndpoint": b, "audiences": []string{b}, "tenant": "common", "identityProvider": "AAD"}
}

// cloud is the document of newer versions. Clients do not start without the suffixes, though nothing of that kind is served here: the
// names end in .invalid (RFC 2606), so that whoever follows them learns it at once.
func cloud(b string) map[string]any {
	return map[string]any{
		"name": cloudName, "portal": b + "/portal", "gallery": b + "/gallery", "graph": graph(b), "graphAudience": graph(b),
		"authentication": authentication(b), "resourceManager": b, "microsoftGraphResourceId": graph(b),
		"suffixes": map[string]string{
			"keyVaultDns": "vault.ringfence.invalid", "storage": "storage.ringfence.invalid", "sqlServerHostname": "sql.ringfence.invalid",
			"acrLoginServer": "acr.ringfence.invalid", "mysqlServerEndpoint": "mysql.ringfence.invalid", "postgresqlServerEndpoint": "postgres.ringfence.invalid",
			"mhsmDns": "hsm.ringfence.invalid", "storageSyncEndpointSuffix": "sync.ringfence.invalid",
		},
		"sqlManagement": b + "/sqlManagement", "batch": b + "/batch", "media": b + "/media", "vmImageAliasDoc": b + "/vmImageAliasDoc",
		"activeDirectoryDataLake": b + "/dataLake",
	}
}

// configuration answers with what OpenID Connect Discovery 1.0 asks for. Issuer and endpoints lie on the host that was asked: clients
// compare.
func (l *Login) configuration(w http.ResponseWriter, r *http.Request, t identity.Tenant) {
	at := base(r) + "/" + t.ID
	v2, token := "", "/oauth2/token"
	issuer := at + "/"
	if strings.Contains(strings.ToLower(r.URL.Path), "/v2.0/") {
		v2, token, issuer = "/v2.0", "/oauth2/v2.0/token", at+"/v2.0"
	}
	answer(w, http.StatusOK, map[string]any{
		"issuer": issuer, "token_endpoint": at + token, "jwks_uri": at + "/discovery" + v2 + "/keys",
		"authorization_endpoint": at + "/oauth2" + v2 + "/authorize", "device_authorization_endpoint": at + "/oauth2" + v2 + "/devicecode",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		"grant_types_supported":                 []string{"client_credentials"},
		"response_types_supported":              []string{"token"}, "response_modes_supported": []string{"form_post"},
		"scopes_supported": []string{}, "subject_types_supported": []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "claims_supported": []string{"sub", "iss", "aud", "exp", "iat", "oid", "tid", "appid"},
		"cloud_instance_name": strings.TrimPrefix(base(r), "https://"), "tenant_region_scope": nil,
	})
}

func (l *Login) keys(w http.ResponseWriter, r *http.Request, _ identity.Tenant) {
	b, err := l.Directory.KeySet()
	if err != nil {
		l.Log.Error("key set", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(b) // a client that has gone away is its own business
}
