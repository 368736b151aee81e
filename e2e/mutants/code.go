package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// codeMutants makes mutants of a Go file. Those that do not compile are sorted out when they are tested.
func codeMutants(path, content string) ([]mutant, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, content, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	l := &litter{kind: "code", path: path, before: content, valid: func(content string) error {
		_, err := parser.ParseFile(token.NewFileSet(), path, content, parser.SkipObjectResolution)
		return err
	}}
	offset := func(pos token.Pos) int { return set.Position(pos).Offset }
	for _, declaration := range file.Decls {
		where := strings.TrimPrefix(path, "../")
		if function, ok := declaration.(*ast.FuncDecl); ok {
			where += " " + function.Name.Name
		} else if d, ok := declaration.(*ast.GenDecl); ok && d.Tok == token.IMPORT {
			continue
		}
		ast.Inspect(declaration, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok && field.Tag != nil {
				return false
			}
			for _, e := range nodeEdits(n, offset) {
				l.add(where, "", content[:e.from]+e.text+content[e.to:])
			}
			return true
		})
	}
	return l.mutants, nil
}

var otherOperators = map[token.Token][]string{
	token.EQL: {"!="}, token.NEQ: {"=="},
	token.LSS: {"<=", ">="}, token.LEQ: {"<", ">"}, token.GTR: {">=", "<="}, token.GEQ: {">", "<"},
	token.LAND: {"||"}, token.LOR: {"&&"},
	token.ADD: {"-"}, token.SUB: {"+"}, token.MUL: {"/"}, token.QUO: {"*"},
}

// nodeEdits returns what makes other code of a node.
func nodeEdits(n ast.Node, offset func(token.Pos) int) []edit {
	replace := func(n ast.Node, text string) edit { return edit{offset(n.Pos()), offset(n.End()), text} }
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if isText(n.X) || isText(n.Y) {
			return nil // would not compile
		}
		var edits []edit
		for _, other := range otherOperators[n.Op] {
			edits = append(edits, edit{offset(n.OpPos), offset(n.OpPos) + len(n.Op.String()), other})
		}
		return edits
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			return []edit{{offset(n.OpPos), offset(n.X.Pos()), ""}}
		}
	case *ast.BasicLit:
		return literalEdits(n, offset)
	case *ast.Ident:
		if other := map[string]string{"true": "false", "false": "true"}[n.Name]; other != "" {
			return []edit{replace(n, other)}
		}
	case *ast.IfStmt:
		switch n.Cond.(type) {
		case *ast.BinaryExpr, *ast.UnaryExpr: // have edits of their own
			return []edit{replace(n, "")}
		}
		return []edit{replace(n, ""), {offset(n.Cond.Pos()), offset(n.Cond.Pos()), "!"}}
	case *ast.ReturnStmt:
		return returnEdits(n, offset)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return []edit{replace(n, "")}
		}
	case *ast.CaseClause, *ast.ExprStmt, *ast.IncDecStmt, *ast.BranchStmt, *ast.DeferStmt:
		return []edit{replace(n, "")}
	}
	return nil
}

// returnEdits returns other errors and booleans.
func returnEdits(n *ast.ReturnStmt, offset func(token.Pos) int) []edit {
	var edits []edit
	for _, result := range n.Results {
		name, ok := result.(*ast.Ident)
		switch {
		case !ok || name.Name == "nil" || name.Name == "true" || name.Name == "false":
		case name.Name == "err":
			edits = append(edits, edit{offset(result.Pos()), offset(result.End()), "nil"})
		default: // compiles if it is a boolean
			edits = append(edits, edit{offset(result.Pos()), offset(result.Pos()), "!"})
		}
	}
	return edits
}

// isText reports whether an expression is a text in quotes.
func isText(x ast.Expr) bool {
	literal, ok := x.(*ast.BasicLit)
	return ok && literal.Kind == token.STRING
}

func literalEdits(literal *ast.BasicLit, offset func(token.Pos) int) []edit {
	from, to := offset(literal.Pos()), offset(literal.End())
	switch literal.Kind {
	case token.INT:
		n, err := strconv.ParseInt(literal.Value, 0, 64)
		if err != nil {
			return nil
		}
		return []edit{{from, to, strconv.FormatInt(n+1, 10)}, {from, to, strconv.FormatInt(n-1, 10)}}
	case token.FLOAT:
		return []edit{{from, to, literal.Value + "*10"}}
	default:
		return nil
	}
}
