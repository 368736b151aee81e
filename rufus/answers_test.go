package rufus_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf16"

	"rufus_exporter/rufus"
)

// answers are bodies of a 200 and the expected result: the session, or the reason of the failure. They also seed the
// fuzz tests.
var answers = []struct {
	name, body, want string
}{
	// shapes
	{"documented", one(), reads()},
	{"object as result", result(session()), reads()},
	{"envelope", enveloped("[" + session() + "]"), reads()},
	{"envelope, object", enveloped(session()), reads()},
	{"envelope, null result outside", `{"result": null, "body": ` + result(session()) + `}`, reads()},
	{"null envelope beside a result", `{"body": null, "result": [` + session() + `]}`, reads()},
	{"something else in the envelope", `{"body": {"x": 1}, "result": [` + session() + `]}`, reads()},
	{"no description", `{"result":[` + session() + `]}`, reads()},
	{"white space", "\r\n\t " + result(" [ "+session()+" ] ") + "\n\n", reads()},
	{"extra members", `{"x": [1, {"y": null}], "result": [` + session("gps", `{"lat": 1}`) + `]}`, reads()},
	{"pagination that is none", `{"pagination": "all", "result": [` + session() + `]}`, reads()},
	{"several, ours last", result("[" + ofOther("passings", "7") + "," + session() + "]"), reads()},
	{"several, another broken", result("[" + ofOther("passings", `"7"`) + "," + session() + "]"), reads()},
	{"several, an empty one", result("[null, {}, " + session() + "]"), reads()},
	{"token in lower case", one("token_session", `"`+strings.ToLower(token)+`"`), reads()},
	{"a key twice: the last counts", one("passings", `1, "passings": 2`), reads("passings", "2")},
	{"a key twice: null last", one("first", `"2023-02-03T16:08:18Z", "first": null`), reads("first", "")},
	{"a key twice: no text last", one("alias", `"A", "alias": 5`), reads("alias", "")},
	{"a key twice: passings gone", one("passings", `1, "passings": null`), "invalid_response"},
	{"a key twice: active gone", one("active", `true, "active": null`), "invalid_response"},
	{"result twice", `{"result": [` + session("passings", "1") + `], "result": ` + session() + `}`, reads()},
	{"result twice, nothing last", `{"result": [` + session() + `], "result": []}`, "not_found"},
	{"envelope twice", `{"body": {"result": null}, "body": ` + result(session()) + `}`, reads()},

	// names must match exactly
	{"result in capitals", `{"Result": [` + session() + `]}`, "not_found"},
	{"result in capitals beside it", `{"result": [` + session() + `], "Result": [], "RESULT": null}`, reads()},
	{"envelope in capitals", `{"Body": ` + result(session()) + `}`, "not_found"},
	{"envelope in capitals beside a result", `{"Body": 5, "result": [` + session() + `]}`, reads()},
	{"passings in capitals", one("passings", "", "Passings", "31"), "invalid_response"},
	{"passings in capitals beside it", one("Passings", "7"), reads()},
	{"passings with a long s", one("passings", "", "pa\u017f\u017fing\u017f", "31"), "invalid_response"},
	{"passings with a long s beside it", one("pa\u017f\u017fing\u017f", "7"), reads()},
	{"passings with a long s, escaped", one(`pa\u017f\u017fings`, "7"), reads()},
	{"active in capitals", one("active", "", "Active", "true"), "invalid_response"},
	{"active in capitals beside it", one("Active", "false", "ACTIVE", "null"), reads()},
	{"token in capitals", one("token_session", "", "Token_Session", `"`+token+`"`), "invalid_response"},
	{"instants in capitals beside them", one("First", "null", "LAST", `"2999-12-31T23:59:59Z"`), reads()},
	{"an escaped name", one("passings", "", `p\u0061ssings`, "31"), reads()},
	{"a name with a blank", one("passings", "", "passings ", "31"), "invalid_response"},
	{"names inside of others", one("x", `{"passings": 7, "active": false, "alias": ["}", "]", "\\\""]}`), reads()},
	{"a name as a value", one("x", `"passings", "y": "active"`), reads()},

	// empty results
	{"no result", `{"description": "Success"}`, "not_found"},
	{"empty object", `{}`, "not_found"},
	{"null result", result("null"), "not_found"},
	{"empty array", result("[]"), "not_found"},
	{"empty object as result", result("{ }"), "not_found"},
	{"envelope, null", `{"body": null}`, "not_found"},
	{"envelope, empty", `{"body": {}}`, "not_found"},
	{"envelope, null result", enveloped("null"), "not_found"},
	{"envelope, empty array", enveloped("[]"), "not_found"},

	// unreadable
	{"empty", "", "invalid_response"},
	{"white space only", " \n", "invalid_response"},
	{"null", "null", "invalid_response"},
	{"array", "[" + session() + "]", "invalid_response"},
	{"string", `"BODY"`, "invalid_response"},
	{"number", "31", "invalid_response"},
	{"cut", one()[:100], "invalid_response"},
	{"two answers", one() + one(), "invalid_response"},
	{"HTML", "<!DOCTYPE html><title>BODY</title><h1>Welcome to the hotel's Wi-Fi</h1>", "invalid_response"},
	{"unquoted keys", `{description: "Session not found", token_session: "` + token + `"}`, "invalid_response"},
	{"byte order mark", "\uFEFF" + one(), reads()},
	{"byte order mark, then white space", "\uFEFF\r\n" + one(), reads()},
	{"white space, then a byte order mark", " \uFEFF" + one(), "invalid_response"},
	{"two byte order marks", "\uFEFF\uFEFF" + one(), "invalid_response"},
	{"byte order mark at the end", one() + "\uFEFF", "invalid_response"},
	{"byte order mark alone", "\uFEFF", "invalid_response"},
	{"text behind", one() + " OK", "invalid_response"},
	{"null behind", one() + "\nnull", "invalid_response"},
	{"a NUL behind", one() + "\x00", "invalid_response"},
	{"a comma too many", result("[" + session() + ",]"), "invalid_response"},
	{"a comment", one() + "// BODY", "invalid_response"},
	{"gzip that is not called so", zip(one()), "invalid_response"},
	{"UTF-16", utf16le(one()), "invalid_response"},
	{"control characters", one("alias", "\"a\x01b\""), "invalid_response"},
	{"NaN", one("passings", "NaN"), "invalid_response"},
	{"envelope, string", `{"body": "BODY"}`, "invalid_response"},
	{"envelope, array", `{"body": [` + session() + `]}`, "invalid_response"},
	{"result is a string", result(`"BODY"`), "invalid_response"},
	{"result is a number", result("1"), "invalid_response"},
	{"result is arrays", result("[[" + session() + "]]"), "invalid_response"},
	{"result is a session and a number", result("[" + session() + ",1]"), "invalid_response"},
	{"nothing known in the result", result(`{"BODY": 1}`), "invalid_response"},
	{"nothing known in the array", result(`[{"BODY": 1}]`), "invalid_response"},
	{"array of null", result("[null]"), "invalid_response"},
	{"deep nesting", strings.Repeat(`{"result":[`, 100_000), "invalid_response"},
	{"deep nesting in a known member", one("alias", nested(20_000)), "invalid_response"},
	{"nesting in an unknown member", one("x", nested(5_000)), reads()},

	// about another session
	{"only another token", result("[" + ofOther() + "]"), "invalid_response"},
	{"no token", one("token_session", ""), "invalid_response"},
	{"null token", one("token_session", "null"), "invalid_response"},
	{"token is a number", one("token_session", "5"), "invalid_response"},
	{"token with a blank", one("token_session", `" `+token+`"`), "invalid_response"},

	// active
	{"closed", one("active", "false"), reads("active", "false")},
	{"active missing", one("active", ""), "invalid_response"},
	{"active null", one("active", "null"), "invalid_response"},
	{"active a string", one("active", `"true"`), "invalid_response"},
	{"active a number", one("active", "1"), "invalid_response"},

	// passings
	{"passings 0", one("passings", "0"), reads("passings", "0")},
	{"passings -0", one("passings", "-0"), reads("passings", "0")},
	{"passings 31.0", one("passings", "31.0"), reads()},
	{"passings 3.1e1", one("passings", "3.1e1"), reads()},
	{"passings of a hundred digits", one("passings", "31."+strings.Repeat("0", 97)), reads()},
	{"passings of more", one("passings", "31."+strings.Repeat("0", 98)), "invalid_response"},
	{"passings 2^53-1", one("passings", "9007199254740991"), reads("passings", "9007199254740991")},
	{"passings 2^53", one("passings", "9007199254740992"), "invalid_response"},
	{"passings 2^63", one("passings", "9223372036854775808"), "invalid_response"},
	{"passings 1e300", one("passings", "1e300"), "invalid_response"},
	{"passings 1e999", one("passings", "1e999"), "invalid_response"},
	{"passings of a million digits", one("passings", strings.Repeat("9", 60_000)), "invalid_response"},
	{"passings negative", one("passings", "-1"), "invalid_response"},
	{"passings fractional", one("passings", "31.5"), "invalid_response"},
	{"passings a string", one("passings", `"31"`), "invalid_response"},
	{"passings a boolean", one("passings", "true"), "invalid_response"},
	{"passings an array", one("passings", "[31]"), "invalid_response"},
	{"passings an object", one("passings", `{"total": 31}`), "invalid_response"},
	{"passings null", one("passings", "null"), "invalid_response"},
	{"passings missing", one("passings", ""), "invalid_response"},

	// optional members, absent in every way
	{"only what must be", result(`[{"token_session": "` + token + `", "active": true, "passings": 31}]`), bare},
	{"the rest null", result("[" + rest("null") + "]"), bare},
	{"the rest empty", result("[" + rest(`""`) + "]"), bare},
	{"the rest numbers", result("[" + rest("1675440498") + "]"), bareUnreadable},
	{"the rest booleans", result("[" + rest("false") + "]"), bareUnreadable},
	{"the rest objects", result("[" + rest(`{"$date": "2023-02-03T16:08:18Z"}`) + "]"), bareUnreadable},
	{"the rest arrays", result("[" + rest(`["2023-02-03T16:08:18Z"]`) + "]"), bareUnreadable},

	// times
	{"offset", one("first", `"2023-02-03T18:08:18.263+02:00"`), reads()},
	{"offset behind", one("first", `"2023-02-03T12:38:18.263-03:30"`), reads()},
	{"offset, escaped", one("first", `"2023-02-03T18:08:18.263\u002B02:00"`), reads()},
	{"no fraction", one("first", `"2023-02-03T16:08:18Z"`), reads("first", "2023-02-03T16:08:18Z")},
	{"nine digits", one("first", `"2023-02-03T16:08:18.263000001Z"`), nanosecond},
	{"twelve digits", one("first", `"2023-02-03T16:08:18.263000001999Z"`), nanosecond},
	{"in the future", one("last", `"2999-12-31T23:59:59Z"`), reads("last", "2999-12-31T23:59:59Z")},
	{"before 1970", one("last", `"1969-12-31T23:59:59Z"`), reads("last", "1969-12-31T23:59:59Z")},
	{"small letters", one("first", `"2023-02-03t16:08:18.263z"`), reads()},
	{"a blank for T", one("first", `"2023-02-03 16:08:18.263Z"`), reads()},
	{"a blank and an offset", one("first", `"2023-02-03 18:08:18.263+02:00"`), reads()},
	{"offset without a colon", one("first", `"2023-02-03T18:08:18.263+0200"`), reads()},
	{"offset behind, without a colon", one("first", `"2023-02-03T12:38:18.263-0330"`), reads()},
	{"offset of hours", one("first", `"2023-02-03T18:08:18.263+02"`), reads()},
	{"a blank and an offset of hours", one("first", `"2023-02-03 08:08:18.263-08"`), reads()},
	{"offset without a colon, no fraction", one("first", `"2023-02-03T18:08:18+0200"`), reads("first", "2023-02-03T16:08:18Z")},
	{"no zone", one("first", `"2023-02-03T16:08:18.263"`), unreadable("first")},
	{"no zone, a blank", one("first", `"2023-02-03 16:08:18"`), unreadable("first")},
	{"a date alone", one("first", `"2023-02-03"`), unreadable("first")},
	{"a date and an offset", one("first", `"2023-02-03+0100"`), unreadable("first")},
	{"a number as string", one("first", `"1675440498"`), unreadable("first")},
	{"an impossible day", one("first", `"2023-02-30T16:08:18Z"`), unreadable("first")},
	{"an impossible hour", one("first", `"2023-02-03T25:08:18Z"`), unreadable("first")},
	{"an impossible offset", one("first", `"2023-02-03T16:08:18+99:00"`), unreadable("first")},
	{"an impossible offset without a colon", one("first", `"2023-02-03T16:08:18+9900"`), unreadable("first")},
	{"an offset of three digits", one("first", `"2023-02-03T16:08:18+100"`), unreadable("first")},
	{"a name for the zone", one("first", `"2023-02-03 16:08:18 CET"`), unreadable("first")},
	{"day first", one("first", `"03.02.2023 16:08:18+0100"`), unreadable("first")},
	{"many letters", one("first", `"2023-02-03`+strings.Repeat("\u017f", 20)+`"`), unreadable("first")},
	{"a blank only", one("first", `" "`), unreadable("first")},
	{"64 bytes with a blank", one("first", `"2023-02-03 16:08:18.263`+strings.Repeat("0", 40)+`Z"`), reads()},
	{"65 bytes with a blank", one("first", `"2023-02-03 16:08:18.263`+strings.Repeat("0", 41)+`Z"`), unreadable("first")},
	{"zeros", one("first", `"0000-00-00T00:00:00Z"`), reads("first", "")},
	{"zeros with a blank", one("first", `"0000-00-00 00:00:00"`), reads("first", "")},
	{"JavaScript's zero time", one("first", `"1970-01-01T01:00:00.000+01:00"`), reads("first", "")},
	{"a clock that began anew", one("first", `"1970-01-01T00:05:00Z"`), reads("first", "1970-01-01T00:05:00Z")},
	{"Go's zero time", one("first", `"0001-01-01T00:00:00Z"`), reads("first", "")},
	{".NET's zero time", one("first", `"0001-01-01T00:00:00+01:00"`), reads("first", "")},
	{"the year 2", one("first", `"0002-01-01T00:00:00Z"`), reads("first", "0002-01-01T00:00:00Z")},
	{"free text", one("first", `"yesterday"`), unreadable("first")},
	{"one bad instant among good ones", one("creation_date", `"?"`), unreadable("creation_date")},
	{"two bad ones", one("last", `"?"`, "duration", `"2h"`), unreadable("duration", "last")},

	// aliases
	{"alias in another script", one("alias", `"Ζεύς \"5K\""`), reads("alias", "Ζεύς \"5K\"")},
	{"alias beyond 16 bits", one("alias", `"\ud83c\udfc1🏁"`), reads("alias", "🏁🏁")},
	{"alias in Latin-1", one("alias", "\"Z\xfcrich\""), reads("alias", "Z\uFFFDrich")},
	{"alias with half a surrogate", one("alias", `"a\ud83cb"`), reads("alias", "a\uFFFDb")},
	{"alias with a NUL", one("alias", `"a\u0000b"`), reads("alias", "a\uFFFDb")},
	{"alias with white space", one("alias", `"a\nb\tc\rd\u0085e\u00a0f\u2028g\u3000h"`), reads("alias", "a b c d e f g h")},
	{"alias with an escape sequence", one("alias", `"\u001b[31mRED\u001b]0;x\u0007"`),
		reads("alias", "\uFFFD[31mRED\uFFFD]0;x\uFFFD")},
	{"alias with C1 controls", one("alias", `"a\u009b31mb\u0090c\u007fd"`), reads("alias", "a\uFFFD31mb\uFFFDc\uFFFDd")},
	{"alias that turns the direction", one("alias", `"a\u202eb\u2066c\u200fd\u061ce"`), reads("alias", "abcde")},
	{"alias with what cannot be seen", one("alias", `"a\u200bb\u200dc\ufeffd\u00ade\u3164f\ufe0fg\u034fh"`), reads("alias", "abcdefgh")},
	{"alias with unassigned and private characters", one("alias", `"a\uffffb\ue000c"`), reads("alias", "a\uFFFDb\uFFFDc")},
	{"alias of nothing to be seen", one("alias", `"\u200b\u2060"`), reads("alias", "")},
	{"alias of 10,000 characters", one("alias", `"`+strings.Repeat("é", 10_000)+`"`), reads("alias", strings.Repeat("é", 200))},
	{"alias of 10,000 escapes", one("alias", `"`+strings.Repeat(`\ud83c\udfc1`, 5_000)+`"`), reads("alias", strings.Repeat("🏁", 200))},
	{"alias whose escapes begin at the cut", one("alias", `"`+strings.Repeat("x", 4_093)+strings.Repeat(`\n`, 1_000)+`"`),
		reads("alias", strings.Repeat("x", 200))},
	{"alias of backslashes", one("alias", `"`+strings.Repeat(`\\`, 5_000)+`"`), reads("alias", strings.Repeat(`\`, 200))},
	{"alias just not cut", one("alias", `"\u0078`+strings.Repeat("x", 4_088)+`"`), reads("alias", strings.Repeat("x", 200))},
	{"alias of 200 characters", one("alias", `"`+strings.Repeat("x", 200)+`"`), reads("alias", strings.Repeat("x", 200))},
	{"alias of 201 characters", one("alias", `"`+strings.Repeat("x", 201)+`"`), reads("alias", strings.Repeat("x", 200))},
	{"alias with the token at the end", one("alias", `"`+strings.Repeat("x", 192)+token+`"`),
		reads("alias", strings.Repeat("x", 192)+"<secret>")},
	{"alias with the token across the end", one("alias", `"`+strings.Repeat("x", 199)+token+`"`),
		reads("alias", strings.Repeat("x", 199))},
	{"alias with the token across the cut", one("alias", `"`+strings.Repeat(token, 4)+token[:32]+strings.Repeat(`\u200b`, 9_000)+token[32:]+`"`),
		reads("alias", strings.Repeat("<secret>", 4))},
	{"alias of tokens", one("alias", `"`+strings.Repeat(token, 100)+`"`), reads("alias", strings.Repeat("<secret>", 4))},
	{"alias with the token, torn apart unseen", one("alias", `"`+token[:32]+`\u200b`+token[32:]+`"`), reads("alias", "<secret>")},
	{"alias with the token", one("alias", `"x `+token+`"`), reads("alias", "x <secret>")},
	{"alias with it twice", one("alias", `"`+strings.ToLower(token)+token+`"`), reads("alias", "<secret><secret>")},
	{"alias with the token, escaped", one("alias", `"\u0032`+token[1:]+`"`), reads("alias", "<secret>")},
	{"alias with the key", one("alias", `"`+strings.ToUpper(key)+`!"`), reads("alias", "<secret>!")},
	{"alias with another token", one("alias", `"`+strings.ToLower(other)+`"`), reads("alias", "<secret>")},
	{"alias with the token but one", one("alias", `"`+token[1:]+`"`), reads("alias", token[1:])},
}

var (
	// bare is a session with only the required members.
	bare = reads("alias", "", "creation_date", "", "duration", "", "first", "", "last", "")
	// bareUnreadable is one with invalid times.
	bareUnreadable = reads("alias", "", "creation_date", "", "duration", "", "first", "", "last", "", "unreadable",
		"creation_date duration first last")
	nanosecond = reads("first", "2023-02-03T16:08:18.263000001Z")
)

// unreadable returns the expected result if the named times are invalid.
func unreadable(names ...string) string {
	var changes []string
	for _, name := range names {
		changes = append(changes, name, "")
	}
	return reads(append(changes, "unreadable", strings.Join(names, " "))...)
}

// ofOther returns a session that was not requested.
func ofOther(changes ...string) string {
	return session(append([]string{"token_session", `"` + other + `"`}, changes...)...)
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// rest returns a session whose optional members are all json.
func rest(json string) string {
	return session("alias", json, "creation_date", json, "duration", json, "first", json, "last", json)
}

func utf16le(s string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		b.WriteByte(byte(unit))
		b.WriteByte(byte(unit >> 8))
	}
	return b.String()
}

func TestAnswers(t *testing.T) {
	body := ""
	c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.RequestURI != sessionPath || r.ContentLength != 0 {
			t.Errorf("got %s %s with a body of %d bytes", r.Method, r.RequestURI, r.ContentLength)
		}
		_, _ = io.WriteString(w, body)
	}), patience)
	for _, answer := range answers {
		t.Run(answer.name, func(t *testing.T) {
			body = answer.body
			s, err := ask(t, c)
			if got := outcome(t, s, err); got != answer.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, answer.want)
			}
		})
	}
}

// The error says what is wrong with an answer.
func TestInvalidAnswersSayWhy(t *testing.T) {
	for body, want := range map[string]string{
		"<html>":                      "the answer is not a JSON object",
		result(`"BODY"`):              "the answer does not have the documented form",
		result("[" + ofOther() + "]"): "the answer is about another session",
		one("active", ""):             "active is missing or not a boolean",
		one("passings", "31.5"):       "passings is missing or not a count",
	} {
		_, err := ask(t, client(t, api(t, says(http.StatusOK, body)), patience))
		var e *rufus.Error
		if !errors.As(err, &e) || e.Reason != rufus.InvalidResponse || e.Detail != want {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}

// Only the body of an answer matters, not its Content-Type.
func TestContentTypeDoesNotMatter(t *testing.T) {
	for _, contentType := range []string{
		"application/json", "application/json; charset=utf-8", "application/octet-stream", "text/html", "nonsense;;", "",
	} {
		c := client(t, api(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			_, _ = io.WriteString(w, one())
		}), patience)
		s, err := ask(t, c)
		if got := outcome(t, s, err); got != reads() {
			t.Errorf("Content-Type %q: got %s (%v)", contentType, got, err)
		}
	}
}
