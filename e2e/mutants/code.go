package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
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
		where := path
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
	remove := func(n ast.Node) edit { return edit{offset(n.Pos()), offset(n.End()), ""} }
	before := func(pos token.Pos, text string) edit { return edit{offset(pos), offset(pos), text} }
	var edits []edit
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if isText(n.X) || isText(n.Y) {
			break // would not compile
		}
		for _, other := range otherOperators[n.Op] {
			edits = append(edits, edit{offset(n.OpPos), offset(n.OpPos) + len(n.Op.String()), other})
		}
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			edits = append(edits, edit{offset(n.OpPos), offset(n.X.Pos()), ""})
		}
	case *ast.IfStmt:
		switch n.Cond.(type) {
		case *ast.BinaryExpr, *ast.UnaryExpr: // have edits of their own
		default:
			edits = append(edits, before(n.Cond.Pos(), "!"))
		}
		edits = append(edits, remove(n))
	case *ast.BasicLit:
		edits = literalEdits(n, offset)
	case *ast.Ident:
		switch n.Name {
		case "true":
			edits = append(edits, edit{offset(n.Pos()), offset(n.End()), "false"})
		case "false":
			edits = append(edits, edit{offset(n.Pos()), offset(n.End()), "true"})
		}
	case *ast.ReturnStmt:
		for _, result := range n.Results {
			switch name, ok := result.(*ast.Ident); {
			case ok && name.Name == "err":
				edits = append(edits, edit{offset(result.Pos()), offset(result.End()), "nil"})
			case ok && name.Name != "nil" && name.Name != "true" && name.Name != "false":
				edits = append(edits, before(result.Pos(), "!")) // does not compile unless it is a boolean
			}
		}
	case *ast.CaseClause, *ast.ExprStmt, *ast.IncDecStmt, *ast.BranchStmt, *ast.DeferStmt:
		edits = append(edits, remove(n))
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			edits = append(edits, remove(n))
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
