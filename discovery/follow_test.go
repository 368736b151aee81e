package discovery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// dev returns a device whose id is derived from its name.
func dev(name, alias, serial string) Device {
	return Device{ID: idOf(name), Alias: alias, SerialNumber: serial, Model: "CloudBox"}
}

func idOf(name string) rufus.Secret {
	return rufus.NewSecret((strings.ToUpper(name) + "0000000")[:8] + strings.Repeat("F", 48) + fmt.Sprintf("%08x", name)[:8])
}

func expression(t testing.TB, source string) *Expression {
	t.Helper()
	if source == "" {
		return nil
	}
	e, err := NewExpression(source, true)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// rule returns a rule. Settings that are "" are not set.
func rule(t testing.TB, alias, serial, name, race string) Rule {
	t.Helper()
	r := Rule{Alias: expression(t, alias), SerialNumber: expression(t, serial)}
	for text, dst := range map[*Template]string{&r.Name: name, &r.Race: race} {
		if dst == "" {
			continue
		}
		parsed, err := ParseTemplate(dst, r.Alias, r.SerialNumber)
		if err != nil {
			t.Fatal(err)
		}
		*text = parsed
	}
	return r
}

// names returns the names of the followed devices, in order.
func names(r Result) (names []string) {
	for _, f := range r.Followed {
		names = append(names, f.Entry.Name)
	}
	return names
}

func TestNames(t *testing.T) {
	t.Parallel()
	every := []Rule{{}}
	for _, c := range []struct {
		name    string
		rules   []Rule
		devices []Device
		want    []string
	}{
		{"alias", every, []Device{dev("b", "TURN", "2"), dev("a", "FINISH", "1")}, []string{"FINISH", "TURN"}},
		{"letter case orders last", every, []Device{dev("a", "b", ""), dev("b", "A", ""), dev("c", "a", "")}, []string{"A", "a", "b"}},
		{"no alias", every, []Device{dev("a", " ", "O4A-1"), dev("b", "X", "")}, []string{"X", "O4A-1"}},
		{"neither alias nor serial number", every, []Device{{ID: rufus.NewSecret("1C3A38059155C47209E3F09210B22D02")}}, []string{"1C3A3805"}},
		{"no more than half of a short id", every, []Device{{ID: rufus.NewSecret("1C3A38")}, {ID: rufus.NewSecret("1")}}, []string{"device", "1C3"}},
		{"an id that cannot be shown", every, []Device{{ID: rufus.NewSecret("1C3A\x1b055155C47209E")}}, []string{"device"}},
		{"equal aliases", every, []Device{dev("a", "FINISH", "O4A-2"), dev("b", "FINISH", "O4A-1")},
			[]string{"FINISH-O4A-1", "FINISH-O4A-2"}},
		{"equal aliases, one without a serial number", every, []Device{dev("a", "FINISH", ""), dev("b", "FINISH", "O4A-1")},
			[]string{"FINISH-A0000000", "FINISH-O4A-1"}},
		{"all equal", every, []Device{dev("same0000", "FINISH", "1"), {ID: rufus.NewSecret("SAME00002222222222"), Alias: "FINISH", SerialNumber: "1"},
			{ID: rufus.NewSecret("SAME00003333333333"), Alias: "FINISH", SerialNumber: "1"}},
			[]string{"FINISH-1", "FINISH-SAME0000", "FINISH-2"}},
		{"equal to a session's name", every, []Device{dev("a", "listed", "9")}, []string{"listed-9"}},
		{"equal to another's name with serial number", every,
			[]Device{dev("a", "X", "1"), dev("b", "X", "2"), dev("c", "X-1", "3")}, []string{"X-A0000000", "X-2", "X-1"}},
		{"serial numbers as names", every, []Device{dev("a", "", "1"), dev("b", "", "1")}, []string{"1-A0000000", "1-B0000000"}},
		{"a device twice", every, []Device{dev("a", "X", "1"), {ID: rufus.NewSecret(strings.ToLower(idOf("a").Reveal())), Alias: "Y"}}, []string{"X"}},
		{"a device that a session names", every, []Device{{ID: rufus.NewSecret("LISTED-DEVICE-1")}}, nil},
		{"no id", every, []Device{{Alias: "X"}}, nil},
		{"order of the rules", []Rule{rule(t, "TURN.*", "", "", ""), rule(t, "", "", "", "")},
			[]Device{dev("a", "A", ""), dev("b", "turn-2", ""), dev("c", "TURN-1", "")}, []string{"TURN-1", "turn-2", "A"}},
		{"whole alias", []Rule{rule(t, "TURN|FINISH", "", "", "")},
			[]Device{dev("a", "TURN-1", ""), dev("b", "xFINISH", ""), dev("c", " turn ", "")}, []string{"turn"}},
		{"both conditions", []Rule{rule(t, "T(.*)", `(?P<n>\d+)`, "$n/$1", "")},
			[]Device{dev("a", "T1", "x"), dev("b", "x", "12"), dev("c", "Tx", "12")}, []string{"12/x"}},
		{"exact serial number", []Rule{rule(t, "", "o4a+1", "$0", "")}, []Device{dev("a", "x", "O4A+1"), dev("b", "y", "o4aa1")},
			[]string{"O4A+1", "o4aa1"}},
		{"groups of one name", []Rule{rule(t, "(?P<n>a)|b(?P<n>.)", "", "${n}!", "")}, []Device{dev("a", "a", ""), dev("b", "bc", "")},
			[]string{"a!", "c!"}},
		{"an empty name", []Rule{rule(t, "x(.*)", "", "$1", "")}, []Device{dev("a", "x", "1"), dev("b", "xy", "2")}, []string{"x", "y"}},
		{"constant name", []Rule{rule(t, "", "", "box", "")}, []Device{dev("a", "x", "1"), dev("b", "y", "2")}, []string{"box-1", "box-2"}},
	} {
		plan := &Plan{Rules: c.rules, MaxDevices: 100}
		listed := entry.Entry{Name: "listed", Target: rufus.Target{Follows: rufus.Device, ID: rufus.NewSecret("listed-device-1")}}
		if got := names(plan.Follow([]entry.Entry{listed}, c.devices, nil)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWhatBecomesOfTheOthers(t *testing.T) {
	t.Parallel()
	ignore := rule(t, "SPARE-.*", "", "", "")
	ignore.Ignore = true
	plan := &Plan{Rules: []Rule{ignore, rule(t, ".+-.+", "", "", "")}, MaxDevices: 2}
	result := plan.Follow(nil, []Device{dev("a", "c-1", ""), dev("b", "", "9"), dev("c", "SPARE-2", ""), dev("d", "b-1", ""),
		dev("e", "a-1", ""), dev("f", "plain", ""), dev("g", "spare-1", "")}, nil)
	aliases := func(devices []Device) (aliases []string) {
		for _, d := range devices {
			aliases = append(aliases, d.Alias)
		}
		return aliases
	}
	for what, c := range map[string]struct{ got, want []string }{
		"followed":  {names(result), []string{"a-1", "b-1"}},
		"excess":    {aliases(result.Excess), []string{"c-1"}},
		"unmatched": {aliases(result.Unmatched), []string{"plain", ""}},
		"ignored":   {aliases(result.Ignored), []string{"spare-1", "SPARE-2"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: got %q, want %q", what, c.got, c.want)
		}
	}
	var tooMany *TooManyError
	if err := result.Err(); !errors.As(err, &tooMany) || *tooMany != (TooManyError{Followed: 2, Matched: 3}) ||
		err.Error() != "rules match 3 devices, but only the first 2 are followed; raise api.max_devices, or match fewer devices" {
		t.Errorf("got %v", err)
	}
	plan.MaxDevices = 3
	if err := plan.Follow(nil, []Device{dev("a", "c-1", "")}, nil).Err(); err != nil {
		t.Error(err)
	}
}

func TestRaces(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	windows := []window.Window{{From: noon, Until: noon.Add(time.Hour)}}
	counted := rule(t, "(.*)", "", "", "$1")
	counted.ExpectedByRace = map[string][]window.Window{"5k": windows, "Kids": windows}
	counted.SilentAfter = time.Minute
	fixed := rule(t, ".*(kids)", "", "", "x $1")
	fixed.Expected = windows
	constant := rule(t, "", "C", "", strings.Repeat("r", 150))
	for _, c := range []struct {
		rule    Rule
		races   []string
		alias   string
		race    string
		windows int
		noGun   bool
	}{
		{counted, []string{"5k", "Kids", "10k"}, "5k", "5k", 1, false},
		{counted, []string{"5k", "Kids", "10k"}, " KIDS", "Kids", 1, false},
		{counted, []string{"5k", "Kids", "10k"}, "10K", "10k", 0, true}, // listed, without a start
		{counted, []string{"5k", "Kids", "10k"}, "21K", "21K", 0, true},
		{counted, []string{"5k", "Kids", "KIDS"}, "KIDS", "KIDS", 0, true},
		{counted, []string{"5k", "Kids", "KIDS"}, "kids", "kids", 0, true}, // ambiguous
		{counted, []string{"5k"}, "", "", 0, true},
		{fixed, nil, "b-KIDS", "x KIDS", 1, false},
		{fixed, []string{"x kids"}, "b-KIDS", "x kids", 1, false},
		{constant, nil, "x", strings.Repeat("r", 150), 0, false},
		{Rule{}, nil, "x", "", 0, false},
	} {
		plan := &Plan{Rules: []Rule{c.rule}, Races: c.races, MaxDevices: 1}
		got := plan.Follow(nil, []Device{dev("a", c.alias, "c")}, nil).Followed
		if len(got) != 1 {
			t.Errorf("%q: %d are followed", c.alias, len(got))
			continue
		}
		f := got[0]
		if race, ok := f.Entry.Labels["race"]; race != c.race || ok != (c.race != "") || len(f.Entry.Expected) != c.windows ||
			f.NoGun != c.noGun || f.Entry.SilentAfter != c.rule.SilentAfter {
			t.Errorf("%q in %q: got %+v, want race %q and %d windows", c.alias, c.races, f, c.race, c.windows)
		}
		if want := (rufus.Target{Follows: rufus.Device, ID: idOf("a")}); f.Entry.Target != want {
			t.Errorf("%q: another target", c.alias)
		}
	}
}

// Renaming a device during a race does not change kept entries, and new devices do not get their names.
func TestKept(t *testing.T) {
	t.Parallel()
	ignore := rule(t, "SPARE", "", "", "")
	ignore.Ignore = true
	plan := &Plan{Rules: []Rule{ignore, rule(t, "(.*)-(.*)", "", "$1", "$2"), {}}, MaxDevices: 3}
	finish, turn := dev("f", "FINISH-5k", "1"), dev("t", "TURN-5k", "2")
	before := plan.Follow(nil, []Device{finish, turn}, nil)
	if got := names(before); !slices.Equal(got, []string{"FINISH", "TURN"}) {
		t.Fatal(got)
	}
	for _, c := range []struct {
		name    string
		devices []Device
		kept    []Followed
		want    []string
		excess  int
	}{
		{"nothing changes", []Device{finish, turn}, before.Followed, []string{"FINISH", "TURN"}, 0},
		{"renamed", []Device{dev("f", "A-10k", "1"), turn}, before.Followed, []string{"FINISH", "TURN"}, 0},
		{"renamed to what is ignored", []Device{dev("f", "SPARE", "1"), turn}, before.Followed, []string{"FINISH", "TURN"}, 0},
		{"renamed, not kept", []Device{dev("f", "A-10k", "1"), turn}, before.Followed[1:], []string{"A", "TURN"}, 0},
		{"swapped", []Device{dev("f", "TURN-5k", "1"), dev("t", "FINISH-5k", "2")}, before.Followed, []string{"FINISH", "TURN"}, 0},
		{"swapped, one kept", []Device{dev("f", "TURN-5k", "1"), dev("t", "FINISH-5k", "2")}, before.Followed[:1],
			[]string{"FINISH", "FINISH-2"}, 0},
		{"an equal newcomer", []Device{dev("n", "FINISH-5k", "0"), finish, turn}, before.Followed, []string{"FINISH-0", "FINISH", "TURN"}, 0},
		{"equal ones at a start", []Device{dev("n", "FINISH-5k", "0"), finish, turn}, nil, []string{"FINISH-0", "FINISH-1", "TURN"}, 0},
		{"too many newcomers", []Device{dev("a", "A-5k", ""), dev("b", "B-5k", ""), finish, turn}, before.Followed,
			[]string{"A", "FINISH", "TURN"}, 1},
		{"gone", []Device{turn}, before.Followed, []string{"TURN"}, 0},
		{"nothing is left", nil, before.Followed, nil, 0},
	} {
		result := plan.Follow(nil, c.devices, c.kept)
		if got := names(result); !slices.Equal(got, c.want) || len(result.Excess) != c.excess {
			t.Errorf("%s: got %q and %d more, want %q", c.name, got, len(result.Excess), c.want)
		}
		for _, k := range c.kept {
			for _, f := range result.Followed {
				if f.Entry.Target == k.Entry.Target && f.Entry.Labels["race"] != k.Entry.Labels["race"] {
					t.Errorf("%s: another race for %s", c.name, f.Entry.Name)
				}
			}
		}
	}

	// After a reload, another entry may have a kept name.
	listed := []entry.Entry{{Name: "FINISH", Target: rufus.Target{ID: rufus.NewSecret("any-token-at-all")}}}
	if got := names(plan.Follow(listed, []Device{finish, turn}, before.Followed)); !slices.Equal(got, []string{"FINISH-1", "TURN"}) {
		t.Errorf("got %q", got)
	}
	listed[0].Target = rufus.Target{Follows: rufus.Device, ID: finish.ID}
	if got := names(plan.Follow(listed, []Device{finish, turn}, before.Followed)); !slices.Equal(got, []string{"TURN"}) {
		t.Errorf("got %q", got)
	}
}

// The order of the list does not matter.
func TestOrderOfTheList(t *testing.T) {
	t.Parallel()
	plan := &Plan{Rules: []Rule{rule(t, "(A|B)-.*", "", "$1", ""), {}}, MaxDevices: 40}
	var devices []Device
	for i := range 60 {
		devices = append(devices, dev(fmt.Sprint(i), fmt.Sprintf("%c-%d", 'A'+i%3, i%5), fmt.Sprint(i%7)))
	}
	want := plan.Follow(nil, devices, nil)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		random.Shuffle(len(devices), func(i, j int) { devices[i], devices[j] = devices[j], devices[i] })
		got := plan.Follow(nil, devices, nil)
		if !slices.Equal(names(got), names(want)) || !slices.Equal(got.Excess, want.Excess) {
			t.Fatalf("got %q, want %q", names(got), names(want))
		}
	}
}

func TestSafeText(t *testing.T) {
	t.Parallel()
	const key = "ror-ae4fc6c19681a20fad30"
	f := &follower{mask: rufus.NewMask([]rufus.Secret{rufus.NewSecret(key), rufus.NewSecret("short"), idOf("a")})}
	for text, want := range map[string]string{
		"FINISH-5K":                    "FINISH-5K",
		"Größe 5 km – Ziel":            "Größe 5 km – Ziel",
		"  a  b ":                      "a  b",
		" ":                            "",
		"a short one":                  "a short one",
		strings.Repeat("ß", 101):       strings.Repeat("ß", 100),
		strings.Repeat("x", 99) + " y": strings.Repeat("x", 99),
	} {
		if got := f.text(text); got != want {
			t.Errorf("%.40q: got %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"key " + strings.ToUpper(key) + "!": "key <secret>!",
		idOf("a").Reveal():                  "<secret>",
		strings.Repeat("x", 90) + key:       strings.Repeat("x", 90) + "<secret>",
		strings.Repeat("x", 95) + key:       strings.Repeat("x", 95) + "<secr",
	} {
		if got := f.text(text); got != want {
			t.Errorf("%.40q: got %q, want %q", text, got, want)
		}
	}
}

// An expression cannot split a secret, because it matches texts without secrets.
func TestGroupsOfASecret(t *testing.T) {
	t.Parallel()
	id := idOf("a").Reveal()
	plan := &Plan{Rules: []Rule{rule(t, "(.{30}).*|(.*)", "", "$1$2", "")}, MaxDevices: 1}
	got := plan.Follow(nil, []Device{{ID: idOf("a"), Alias: id}}, nil).Followed[0].Entry.Name
	if got != "<secret>" {
		t.Errorf("got %q", got)
	}
}

// checkResult checks the guarantees that callers rely on.
func checkResult(t *testing.T, plan *Plan, sessions []entry.Entry, devices []Device, r Result) {
	t.Helper()
	var secrets []rufus.Secret
	seen := map[string]bool{}
	for _, s := range sessions {
		seen[s.Name] = true
		secrets = append(secrets, s.Target.ID)
	}
	secrets = append(secrets, plan.Secrets...)
	for _, d := range devices {
		secrets = append(secrets, d.ID)
	}
	show := func(text string) {
		if n := utf8.RuneCountInString(text); n < 1 || n > 100 || !utf8.ValidString(text) ||
			strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is not 1 to 100 printable characters", text)
		}
		for _, s := range secrets {
			if id := s.Reveal(); len(id) >= 8 && strings.Contains(strings.ToLower(text), strings.ToLower(id)) {
				t.Errorf("%q shows %q", text, id)
			}
		}
	}
	for _, f := range r.Followed {
		if seen[f.Entry.Name] {
			t.Errorf("%q is there twice", f.Entry.Name)
		}
		seen[f.Entry.Name] = true
		show(f.Entry.Name)
		for _, value := range f.Entry.Labels {
			show(value)
		}
	}
	if len(r.Followed) > plan.MaxDevices {
		t.Errorf("%d are followed", len(r.Followed))
	}
}

// FuzzNames checks that names are unique and safe for any texts and rules.
func FuzzNames(f *testing.F) {
	f.Add("FINISH-5K", "FINISH-5K", "O4A-1", "O4A-1", "1C3A38059155C472", "1C3A38059155C473", "ror-ae4fc6c19681a20fad30")
	f.Add("", "", "", "", "a", "b", "")
	f.Add("abcdefgh", "device", "device-2", "", "bcdefgh-", "device-2", "BCDEFGH-")
	f.Add("\ufffd", "1C3A3805", "", "9155C472", "1C3A38059155C472", "9155C472", "x")
	f.Add("a-", "b", "bcdefgh", "a-b", "a-bcdefgh", "a-b-a-b-", "a-bcdefg")
	f.Fuzz(func(t *testing.T, alias1, alias2, serial1, serial2, id1, id2, key string) {
		devices := []Device{
			{ID: rufus.NewSecret(id1), Alias: alias1, SerialNumber: serial1},
			{ID: rufus.NewSecret(id2), Alias: alias2, SerialNumber: serial2},
			{ID: rufus.NewSecret("third-device-of-the-account"), Alias: alias1, SerialNumber: serial2},
			{ID: rufus.NewSecret("fourth-device-of-the-account"), Alias: alias2, SerialNumber: serial2},
		}
		// config accepts only ASCII keys. None of these looks like "<secret>".
		if strings.ContainsFunc(id1+id2+key, func(r rune) bool { return r > unicode.MaxASCII || r == '<' || r == '>' }) {
			t.Skip("only ASCII can be a key or an id")
		}
		if text := alias1 + " " + alias2 + " " + serial1 + " " + serial2; !utf8.ValidString(text) ||
			strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Skip("rufus makes texts printable")
		}
		for _, rules := range [][]Rule{
			{{}}, {rule(t, "(.*)(.)(.*)", "", "$1$3", "$3$2")}, {rule(t, "(?s)(.*)", "(?s)(?P<n>.*)", "$n$1", "$n")},
		} {
			plan := &Plan{Rules: rules, MaxDevices: 3, Secrets: []rufus.Secret{rufus.NewSecret(key)}}
			taken := []entry.Entry{{Name: "taken", Target: rufus.Target{ID: rufus.NewSecret("token-of-another-session")}}}
			result := plan.Follow(taken, devices, nil)
			checkResult(t, plan, taken, devices, result)
			again := plan.Follow(taken, devices, result.Followed)
			checkResult(t, plan, taken, devices, again)
			if !slices.Equal(names(again), names(result)) {
				t.Errorf("%q became %q", names(result), names(again))
			}
		}
	})
}

// A thousand devices and fifty rules take about 40 ms. The list is read at most every 30 s.
func BenchmarkFollow(b *testing.B) {
	plan := &Plan{MaxDevices: 1000}
	for i := range 50 {
		plan.Rules = append(plan.Rules, rule(b, fmt.Sprintf("(START|TURN|FINISH)-(%d.*)", i+1000), "", "$1 $2", "$2"))
	}
	plan.Rules = append(plan.Rules, Rule{})
	var devices []Device
	for i := range 1000 {
		devices = append(devices, dev(fmt.Sprint(i), fmt.Sprintf("FINISH-%dK", i%21), fmt.Sprint(i)))
	}
	for b.Loop() {
		plan.Follow(nil, devices, nil)
	}
}
