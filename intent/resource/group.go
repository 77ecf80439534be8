package resource

// resourceGroup holds documents; it is deleted with everything inside.
var resourceGroup = &Type{
	Name:    GroupType,
	Words:   []string{"group"},
	Help:    "a container that resources live and die with",
	Located: true,
	Style:   Gateway,
	AtOnce:  true,
	Schema: object("", "ResourceGroup",
		showID(), showName(), showType(), locationField(),
		str("managedBy").none(), tagsField(),
		object("properties", "ResourceGroupProperties", showState()).always(),
	),
}
