package resource

import (
	"regexp"
)

// resourceGroup holds documents; it is deleted with everything inside.
var resourceGroup = &Type{
	Name:    GroupType,
	Words:   []string{"group"},
	Help:    "a container that resources live and die with",
	Located: true,
	Style:   Gateway,
	naming: &naming{regexp.MustCompile(`^[\p{L}\p{N}_().\-]{0,89}[\p{L}\p{N}_()\-]$`), "InvalidParameter",
		"The provided resource group name %q is not valid: up to 90 letters, digits, '_', '-', '.', '(' and ')', not ending in '.'."},
	Schema: object("", "ResourceGroup",
		showID(), showName(), showType(), locationField(),
		str("managedBy").none(), tagsField(),
		object("properties", "ResourceGroupProperties", showState()).always(),
	),
}
