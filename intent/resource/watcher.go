package resource

// networkWatcher is the place that diagnostic questions are asked at. Clients make one per region before they ask anything.
var networkWatcher = &Type{
	Name:    "Microsoft.Network/networkWatchers",
	Words:   []string{"network", "watcher"},
	Help:    "the place in a region that diagnostic questions are asked at",
	Located: true,
	Emptied: true,
	Schema: object("", "NetworkWatcher",
		showName(), showID(), showETag(), showType(), locationField(), tagsField(),
		object("properties", "NetworkWatcherPropertiesFormat", showState(), thing("runningOperationIds").readOnly()).always(),
	),
}
