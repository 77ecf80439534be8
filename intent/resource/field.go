package resource

// Field is one word of a type's vocabulary. The order of Fields is the order in which a GET answers.
type Field struct {
	Name     string
	Kind     Kind
	Model    string   // name of the object's or enumeration's type in Azure's texts
	Enum     []string // values of a string, compared without regard to case, echoed as sent
	Required bool
	Effect   Effect
	Harmless []string // of a refused field: values (as JSON) that change nothing and are let through
	Default  string   // JSON that a GET shows when the field was not sent
	Since    string   // first api-version whose GET shows the default or computed value
	Fields   []*Field // of an object
	Elem     *Field   // of an array
	Target   string   // of a reference: the type it points at
	Type     *Type    // of an array's element: it is a child resource
	Exact    bool     // of a string: a number or a boolean is not taken for one
	Always   bool     // of an object: shown with its defaults when it was not sent

	show func(*render) []byte // computed for a GET; nil result: not shown
}

// Kind is the JSON form of a field.
type Kind uint8

const (
	String Kind = iota
	Int
	Bool
	Object
	Array
	Map       // object of strings: tags
	Reference // object with an id; other members are ignored
	Any       // not looked into
)

// Effect says what a field does here.
type Effect uint8

const (
	Enforced Effect = iota // means what it means in Azure
	NoEffect               // accepted, kept and answered; changes nothing here
	Refused                // would change what is enforced and is not supported: only its harmless values are accepted
	ReadOnly               // computed when read; ignored when sent
	Secret                 // accepted, never kept nor answered
)

var effectNames = [...]string{"enforced", "no effect", "refused", "read-only", "secret"}

func (e Effect) String() string { return effectNames[e] }

func str(name string) *Field   { return &Field{Name: name} }
func num(name string) *Field   { return &Field{Name: name, Kind: Int} }
func flag(name string) *Field  { return &Field{Name: name, Kind: Bool} }
func thing(name string) *Field { return &Field{Name: name, Kind: Any} }

func enum(name, model string, values ...string) *Field {
	return &Field{Name: name, Model: model, Enum: values}
}

func object(name, model string, fields ...*Field) *Field {
	return &Field{Name: name, Kind: Object, Model: model, Fields: fields}
}

func list(name string, elem *Field) *Field { return &Field{Name: name, Kind: Array, Elem: elem} }

func strs(name string) *Field { return list(name, &Field{}) }

func ref(name, target string) *Field { return &Field{Name: name, Kind: Reference, Target: target} }

func refs(name, target string) *Field { return list(name, &Field{Kind: Reference, Target: target}) }

// resources is an array of child resources.
func resources(name string, t *Type) *Field {
	return list(name, &Field{Kind: Object, Type: t})
}

func (f *Field) required() *Field            { f.Required = true; return f }
func (f *Field) always() *Field              { f.Always = true; return f }
func (f *Field) none() *Field                { f.Effect = NoEffect; return f }
func (f *Field) readOnly() *Field            { f.Effect = ReadOnly; return f }
func (f *Field) secret() *Field              { f.Effect = Secret; return f }
func (f *Field) refused(ok ...string) *Field { f.Effect, f.Harmless = Refused, ok; return f }
func (f *Field) or(json string) *Field       { f.Default = json; return f }
func (f *Field) since(version string) *Field { f.Since = version; return f }
func (f *Field) shown(by func(*render) []byte) *Field {
	f.Effect, f.show = ReadOnly, by
	return f
}

// vocabulary is the fields of an object or of an array's elements.
func (f *Field) vocabulary() []*Field {
	if f.Type != nil {
		return f.Type.Schema.Fields
	}
	return f.Fields
}

// model is the name of an object's type in Azure's texts.
func (f *Field) model() string {
	if f.Type != nil {
		return f.Type.Schema.Model
	}
	return f.Model
}

// Walk visits every field below f with its path; arrays add []. It is what the conformance table is made from.
func (f *Field) Walk(visit func(path string, f *Field)) { f.walk("", visit) }

func (f *Field) walk(prefix string, visit func(string, *Field)) {
	for _, c := range f.vocabulary() {
		path := prefix + c.Name
		visit(path, c)
		switch {
		case c.Kind == Object:
			c.walk(path+".", visit)
		case c.Kind == Array && c.Elem.Type == nil && c.Elem.Kind == Object:
			c.Elem.walk(path+"[].", visit)
		}
	}
}
