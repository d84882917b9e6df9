package database

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// sqlText is a tokenized statement and its edits: an edited token's text is
// replaced, a removed one's is empty.
type sqlText struct {
	tokens []token
	words  []int // indexes of the tokens that mean something
}

func parseText(sql string) (*sqlText, error) {
	tokens, err := tokenize(sql)
	if err != nil {
		return nil, err
	}
	t := &sqlText{tokens: tokens}
	for i, token := range tokens {
		if !token.isSpace() {
			t.words = append(t.words, i)
		}
	}
	return t, nil
}

// at returns the n-th token that means something, or an empty one.
func (t *sqlText) at(n int) token {
	if n < 0 || n >= len(t.words) {
		return token{}
	}
	return t.tokens[t.words[n]]
}

func (t *sqlText) set(n int, text string) { t.tokens[t.words[n]].text = text }

// remove empties the tokens from..to-1 and forgets them.
func (t *sqlText) remove(from, to int) {
	for n := from; n < to; n++ {
		t.set(n, "")
	}
	t.words = slices.Delete(t.words, from, to)
}

// matches reports whether the tokens from n on are these keywords and symbols.
func (t *sqlText) matches(n int, pattern ...string) bool {
	for i, text := range pattern {
		if !t.at(n + i).is(text) {
			return false
		}
	}
	return true
}

func (t *sqlText) String() string {
	var b strings.Builder
	for _, token := range t.tokens {
		b.WriteString(token.text)
	}
	return b.String()
}

// translate turns a PostgreSQL statement into SQLite's dialect, or says why it
// cannot. Everything that SQLite would accept with another meaning is refused;
// what SQLite does not know at all fails when it is prepared.
func translate(sql string) (string, error) {
	t, err := parseText(sql)
	if err != nil {
		return "", err
	}
	if err := t.refuse(); err != nil {
		return "", err
	}
	t.placeholders()
	if err := t.casts(); err != nil {
		return "", err
	}
	if err := t.arrays(); err != nil {
		return "", err
	}
	t.rowLocks()
	t.collations()
	return t.String(), nil
}

// translatePlaceholders is translate for text in SQLite's dialect.
func translatePlaceholders(sql string) (string, error) {
	t, err := parseText(sql)
	if err != nil {
		return "", err
	}
	t.placeholders()
	return t.String(), nil
}

// placeholders turns $1 into ?1, or into a plain ? where each occurs once and in
// order: SQLite's driver finds those without comparing names.
func (t *sqlText) placeholders() {
	inOrder, count := true, 0
	for n := range t.words {
		if token := t.at(n); token.kind == tokenParameter {
			count++
			inOrder = inOrder && token.text == "$"+strconv.Itoa(count)
		}
	}
	for n := range t.words {
		token := t.at(n)
		if token.kind != tokenParameter {
			continue
		}
		text := "?"
		if !inOrder {
			text += token.text[1:]
		}
		// SQLite plans for the number that is bound to a bare LIMIT, and so
		// compiles the statement anew each time that one is bound.
		if t.at(n-1).is("LIMIT") || t.at(n-1).is("OFFSET") {
			text = "(0+" + text + ")"
		}
		t.set(n, text)
	}
}

// castTypes are the types whose casts only guide PostgreSQL's type inference.
var castTypes = []string{"bigint", "int8", "integer", "int", "int4", "smallint", "int2", "text", "bytea", "boolean", "bool"}

// casts removes ::type and ::type[].
func (t *sqlText) casts() error {
	for n := 0; n < len(t.words); n++ {
		if !t.at(n).is("::") {
			continue
		}
		typ := t.at(n + 1)
		if typ.kind != tokenWord || !slices.Contains(castTypes, strings.ToLower(typ.text)) {
			return fmt.Errorf("the cast ::%s has no equal in SQLite", typ.text)
		}
		end := n + 2
		if t.matches(end, "[", "]") {
			end += 2
		}
		t.remove(n, end)
		n--
	}
	return nil
}

// arrays turns = ANY($1) and <> ALL($1) into IN and NOT IN over a JSON array,
// which is how a slice is bound on SQLite.
func (t *sqlText) arrays() error {
	for n := range t.words {
		any, all := t.at(n).is("ANY"), t.at(n).is("ALL")
		operator := t.at(n - 1)
		if !any && !all || !t.at(n+1).is("(") || operator.kind == tokenWord {
			continue // such as UNION ALL (
		}
		if t.at(n+2).kind != tokenParameter || !t.at(n+3).is(")") {
			return fmt.Errorf("%s needs a single placeholder", strings.ToUpper(t.at(n).text))
		}
		switch {
		case any && operator.is("="):
			t.set(n-1, " IN ")
		case all && (operator.is("<>") || operator.is("!=")):
			t.set(n-1, " NOT IN ")
		default:
			return fmt.Errorf("%s %s has no equal in SQLite", operator.text, strings.ToUpper(t.at(n).text))
		}
		t.set(n, "")
		t.set(n+1, "(SELECT value FROM json_each(")
		t.set(n+3, "))")
	}
	return nil
}

// rowLocks removes FOR UPDATE and its kin: SQLite has one writer.
func (t *sqlText) rowLocks() {
	for n := 0; n < len(t.words); n++ {
		if !t.at(n).is("FOR") {
			continue
		}
		end := n + 1
		for t.at(end).is("NO") || t.at(end).is("KEY") {
			end++
		}
		if !t.at(end).is("UPDATE") && !t.at(end).is("SHARE") {
			continue
		}
		end++
		if t.at(end).is("OF") {
			end += 2
			for t.at(end).is(",") {
				end += 2
			}
		}
		switch {
		case t.matches(end, "SKIP", "LOCKED"):
			end += 2
		case t.at(end).is("NOWAIT"):
			end++
		}
		t.remove(n, min(end, len(t.words)))
		n--
	}
}

// collations removes COLLATE "C": SQLite compares bytes unless told otherwise.
func (t *sqlText) collations() {
	for n := 0; n < len(t.words); n++ {
		if t.at(n).is("COLLATE") && t.at(n+1).text == `"C"` {
			t.remove(n, n+2)
			n--
		}
	}
}

// inspect tells what a statement may do to rows and its highest placeholder.
func inspect(sql string) (effect, int) {
	t, err := parseText(sql)
	if err != nil {
		return writes, 0 // Open refuses it
	}
	highest := 0
	for n := range t.words {
		if token := t.at(n); token.kind == tokenParameter {
			number, _ := strconv.Atoi(token.text[1:])
			highest = max(highest, number)
		}
	}
	return t.effect(), highest
}

func (t *sqlText) effect() effect {
	if !t.at(0).is("SELECT") && !t.at(0).is("WITH") && !t.at(0).is("VALUES") {
		return writes
	}
	found := reads
	for n := range t.words {
		switch word := t.at(n); {
		case word.is("INSERT"), word.is("DELETE"), word.is("MERGE"), word.is("INTO"):
			return writes
		case word.is("UPDATE") && !t.at(n-1).is("FOR") && !t.at(n-1).is("KEY"):
			return writes
		case word.is("FOR"):
			found = locks
		}
	}
	return found
}
