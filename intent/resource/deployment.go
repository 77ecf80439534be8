package resource

// deployment is the record of a template that was deployed to a resource group.
var deployment = &Type{
	Name:   "Microsoft.Resources/deployments",
	Words:  []string{"deployment", "group"},
	Help:   "the record of a template deployed to a resource group",
	Style:  Gateway,
	answer: object("", "Deployment", showID(), showName(), showType(), str("location"), tagsField(), thing("properties")),
	Schema: object("", "Deployment",
		showID(), showName(), showType(), str("location").none(), tagsField(),
		object("properties", "DeploymentProperties",
			thing("template"), thing("parameters"),
			enum("mode", "DeploymentMode", "Incremental", "Complete").refused(`"Incremental"`),
			thing("templateLink").refused(), thing("parametersLink").refused(), thing("onErrorDeployment").refused(),
			thing("debugSetting").none(), thing("expressionEvaluationOptions").none(), thing("validationLevel").none(),
			thing("externalInputs").refused(), thing("externalInputDefinitions").refused(), thing("extensionConfigs").refused(),
			thing("provisioningState").readOnly(), thing("correlationId").readOnly(), thing("timestamp").readOnly(),
			thing("duration").readOnly(), thing("outputs").readOnly(), thing("providers").readOnly(), thing("dependencies").readOnly(),
			thing("templateHash").readOnly(), thing("outputResources").readOnly(), thing("validatedResources").readOnly(),
			thing("error").readOnly(), thing("diagnostics").readOnly(), thing("extensions").readOnly(),
		).required(),
	),
}
