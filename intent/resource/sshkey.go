package resource

// sshPublicKey keeps a public key under a name, for clients that write it into machines.
var sshPublicKey = &Type{
	Name:    "Microsoft.Compute/sshPublicKeys",
	Words:   []string{"sshkey"},
	Help:    "a public key under a name, for clients that write it into machines",
	Located: true,
	Style:   Compute,
	Patient: true,
	Schema: object("", "SshPublicKeyResource",
		showName(), showID(), showType(), locationField(), tagsField(),
		object("properties", "SshPublicKeyResourceProperties", str("publicKey").none()).always(),
	),
}
