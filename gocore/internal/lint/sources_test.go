package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const modulePath = "mooncake_te"

// source is one Go file of the module.
type source struct {
	name      string // path from the module's root
	pkg       string // its folder, from the module's root
	test      bool   // _test.go
	generated bool
	lines     int
	imports   []string
	tree      *ast.File
	fset      *token.FileSet
}

// at is "file:line" of a node.
func (s source) at(node ast.Node) string {
	return s.name + ":" + strconv.Itoa(s.fset.Position(node.Pos()).Line)
}

// root is the module's root, three folders above this package.
var root = filepath.Join("..", "..", "..")

var parseAll = sync.OnceValues(func() ([]source, error) {
	var all []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			// What the go command ignores too, what is built, and modules of their own.
			name := entry.Name()
			if path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "build") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parse(path)
		all = append(all, file)
		return err
	})
	return all, err
})

func parse(path string) (source, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return source{}, err
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return source{}, err
	}
	name = filepath.ToSlash(name)
	return parseText(name, text)
}

func parseText(name string, text []byte) (source, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	file := source{
		name: name, pkg: filepath.ToSlash(filepath.Dir(name)), test: strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(tree), lines: strings.Count(string(text), "\n"), tree: tree, fset: fset,
	}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		file.imports = append(file.imports, imported)
	}
	return file, nil
}

// sources parses every Go file of the module, once.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := parseAll()
	require.NoError(t, err)
	require.NotEmpty(t, all, "found no Go files below %s", root)
	return all
}
