package preflight

import (
	"regexp"
	"strings"
)

// points maps words for timing points to the timing point.
var points = map[string]string{
	"start": "start", "turn": "turn", "turnaround": "turn", "finish": "finish", "goal": "finish",
	"split": "split", "intermediate": "split",
}

var (
	word     = regexp.MustCompile(`[\pL\d]+`)
	distance = regexp.MustCompile(`^(\d+)km?$`)
)

// meaning returns the timing points and the distances that a name or an alias mentions.
func meaning(text string) (where, far map[string]bool) {
	where, far = map[string]bool{}, map[string]bool{}
	for _, w := range word.FindAllString(strings.ToLower(text), -1) {
		if point, known := points[w]; known {
			where[point] = true
		} else if match := distance.FindStringSubmatch(w); match != nil {
			far[match[1]] = true
		}
	}
	return where, far
}

// contradict reports whether a name and an alias mention different points or different distances.
func contradict(name, alias string) bool {
	nameWhere, nameFar := meaning(name)
	aliasWhere, aliasFar := meaning(alias)
	return disjoint(nameWhere, aliasWhere) || disjoint(nameFar, aliasFar)
}

// disjoint reports whether a and b are not empty and have nothing in common.
func disjoint(a, b map[string]bool) bool {
	for word := range a {
		if b[word] {
			return false
		}
	}
	return len(a) > 0 && len(b) > 0
}

// noteSwapped adds notes about entries whose alias contradicts their name.
func (r *Report) noteSwapped() {
	var odd []Session
	for _, s := range r.Sessions {
		if contradict(s.Name, s.Alias) {
			odd = append(odd, s)
		}
	}
	noted := map[string]bool{}
	for i, a := range odd {
		if noted[a.Name] {
			continue
		}
		for _, b := range odd[i+1:] {
			if !noted[b.Name] && !contradict(a.Name, b.Alias) && !contradict(b.Name, a.Alias) {
				noted[a.Name], noted[b.Name] = true, true
				r.note("swapped", []string{a.Name, b.Name}, "%s and %s look swapped: their aliases are %s and %s.",
					a.Name, b.Name, a.Alias, b.Alias)
				break
			}
		}
		if !noted[a.Name] {
			r.note("swapped", []string{a.Name}, "%s has the alias %s: is it the right one?", a.Name, a.Alias)
		}
	}
}
