package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ringfence/intent/template"
)

const deploymentType = "Microsoft.Resources/deployments"

type deployCommand struct {
	Group      string   `short:"g" aliases:"resource-group" required:"" help:"Resource group to deploy to."`
	File       string   `short:"f" aliases:"template-file" required:"" help:"Template file; - reads standard input."`
	Parameters []string `short:"p" sep:"none" placeholder:"NAME=VALUE" help:"Parameters: name=value, name=@file, @file or a parameter file's path; several may follow."`
	Name       string   `short:"n" help:"Name of the deployment; else that of the file."`
	NoWait     bool     `help:"Do not wait until everything is enforced."`
}

func (deployCommand) Help() string {
	return `Parameters are given by name, or as a parameter file. A value is read as the parameter's type demands: text for a string, JSON for
everything else.

Examples:
  ringfence group create -n shop --as contoso
  ringfence deploy -g shop -f examples/three-tier/template.json --as contoso
  ringfence deploy -g shop -f azuredeploy.json -p @azuredeploy.parameters.json vnetName=hub

The template language's functions that are supported: ` + strings.Join(template.Functions(), ", ") + `.`
}

// deploymentCommands are the words of az; `ringfence deploy` is the short one.
type deploymentCommands struct {
	Group struct {
		Create   deployCommand                       `cmd:"" help:"Deploy an ARM template to a resource group."`
		Validate validateCommand                     `cmd:"" help:"Check a template as deploying it would, and write nothing."`
		List     listChildren[deploymentKind, alone] `cmd:"" help:"List the deployments of a resource group."`
		Show     showOne[deploymentKind, alone]      `cmd:"" help:"Show a deployment with its outputs."`
		Delete   deleteOne[deploymentKind, alone]    `cmd:"" help:"Forget a deployment; what it made stays."`
	} `cmd:"" help:"Deployments to a resource group."`
}

func (c *deployCommand) Run(a *app) error {
	s, body, err := c.prepare(a)
	if err != nil {
		return err
	}
	a.progress.begin("deploying %s to %s", c.File, c.Group)
	v, err := s.putRaw(s.path(c.Group, deploymentType, c.Name), body, !c.NoWait)
	if err != nil {
		return err
	}
	return printDeployment(a, v)
}

// prepare reads the template and its parameters, connects and writes the request's body.
func (c *deployCommand) prepare(a *app) (*session, []byte, error) {
	text, err := a.readFile(c.File)
	if err != nil {
		return nil, nil, err
	}
	t, err := template.Parse(text)
	if err != nil {
		return nil, nil, templateError(c.File, err)
	}
	values, err := c.values(a, t)
	if err != nil {
		return nil, nil, err
	}
	if c.Name == "" {
		c.Name = deploymentName(c.File)
	}
	body, err := deploymentBody(t.Strict(), values)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.connect()
	return s, body, err
}

type validateCommand struct{ deployCommand }

func (validateCommand) Help() string {
	return "Examples:\n  ringfence deployment group validate -g shop -f azuredeploy.json -p @azuredeploy.parameters.json"
}

func (c *validateCommand) Run(a *app) error {
	s, body, err := c.prepare(a)
	if err != nil {
		return err
	}
	ans, err := s.send(a.ctx, http.MethodPost, versioned(s.path(c.Group, deploymentType, c.Name)+"/validate"), body)
	if err != nil {
		return err
	}
	v, err := decode(ans.body)
	if err != nil {
		return err
	}
	if list, ok := at(v, "properties", "validatedResources").([]any); ok && (a.flags.Output == "" || a.flags.Output == "table") && a.flags.Query == "" {
		return a.print(list, column{"Resource", "id"})
	}
	return a.print(v)
}

// deploymentBody is the body of a deployment. The template goes as it was written, so that positions in refusals are those of the file.
func deploymentBody(text []byte, values map[string]json.RawMessage) ([]byte, error) {
	wrapped := map[string]map[string]json.RawMessage{}
	for n, v := range values {
		wrapped[n] = map[string]json.RawMessage{"value": v}
	}
	params, err := json.Marshal(wrapped)
	if err != nil {
		return nil, fmt.Errorf("write the parameters: %w", err)
	}
	var body bytes.Buffer
	fmt.Fprintf(&body, `{"properties":{"mode":"Incremental","parameters":%s,"template":`, params)
	body.Write(text)
	body.WriteString("}}")
	return body.Bytes(), nil
}

func printDeployment(a *app, v any) error {
	if f := a.flags.Output; f != "" && f != "table" || a.flags.Query != "" {
		return a.print(v)
	}
	if err := a.print(v, column{"Name", "name"}, column{"State", "properties.provisioningState"}, column{"Mode", "properties.mode"}); err != nil {
		return err
	}
	o, _ := v.(map[string]any)
	p, _ := o["properties"].(map[string]any)
	if r, ok := p["outputResources"].([]any); ok && len(r) > 0 {
		fmt.Fprintln(a.out)
		if err := printTable(a.out, r, []column{{"Resource", "id"}}); err != nil {
			return err
		}
	}
	if outs, ok := p["outputs"].(map[string]any); ok && len(outs) > 0 {
		fmt.Fprintln(a.out)
		var rows []any
		for n, o := range outs {
			m, _ := o.(map[string]any)
			rows = append(rows, map[string]any{"name": n, "value": m["value"]})
		}
		slices.SortFunc(rows, func(x, y any) int {
			return strings.Compare(x.(map[string]any)["name"].(string), y.(map[string]any)["name"].(string))
		})
		return printTable(a.out, rows, []column{{"Output", "name"}, {"Value", "value"}})
	}
	return nil
}

// templateError puts the file's name before each fault.
func templateError(file string, err error) error {
	var faults template.Faults
	if !errors.As(err, &faults) {
		return err
	}
	var lines []string
	for _, f := range faults {
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s %s", file, f.Line, f.Column, f.Path, f.Message))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// values reads -p: later ones win.
func (c *deployCommand) values(a *app, t *template.Template) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for _, p := range c.Parameters {
		name, value, ok := strings.Cut(p, "=")
		if !ok || strings.HasPrefix(p, "@") || strings.HasPrefix(strings.TrimSpace(p), "{") {
			if err := a.parameterFile(p, out); err != nil {
				return nil, err
			}
			continue
		}
		if file, isFile := strings.CutPrefix(value, "@"); isFile {
			b, err := a.readFile(file)
			if err != nil {
				return nil, err
			}
			value = string(b)
		}
		raw, err := parameterValue(t, name, value)
		if err != nil {
			return nil, err
		}
		out[name] = raw
	}
	return out, nil
}

func (a *app) parameterFile(p string, out map[string]json.RawMessage) error {
	text := []byte(p)
	if !strings.HasPrefix(strings.TrimSpace(p), "{") {
		var err error
		if text, err = a.readFile(strings.TrimPrefix(p, "@")); err != nil {
			return err
		}
	}
	values, err := template.Values(text)
	if err != nil {
		return templateError(p, err)
	}
	for n, v := range values {
		out[n] = v
	}
	return nil
}

// parameterValue reads a word as the type that the template gives the parameter.
func parameterValue(t *template.Template, name, value string) (json.RawMessage, error) {
	for _, p := range t.Parameters() {
		if !strings.EqualFold(p.Name, name) {
			continue
		}
		switch p.Type {
		case "string", "securestring":
			return json.Marshal(value)
		case "bool":
			value = strings.ToLower(value)
		}
		if !json.Valid([]byte(value)) {
			return nil, usagef("-p %s=%s: the parameter is of type %s; the value is no JSON", name, value, p.Type)
		}
		return json.RawMessage(value), nil
	}
	return json.Marshal(value) // the server says that there is no such parameter
}

var notName = regexp.MustCompile(`[^A-Za-z0-9._()-]+`)

func deploymentName(file string) string {
	name := notName.ReplaceAllString(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), "-")
	if name = strings.Trim(name, ".-"); name == "" {
		return "deployment"
	}
	return name[:min(len(name), 64)]
}

// readFile reads a file or, as "-", standard input.
func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		b, err := readAll(a.in)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return b, nil
	}
	return os.ReadFile(name)
}
