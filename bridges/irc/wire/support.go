package wire

import (
	"maps"
	"strconv"
	"strings"

	"trestle/bridges/irc/names"
)

// Support is what the server said about itself (RPL_ISUPPORT), with the RFC's
// values for what it did not say. It is never changed; Conn.Support returns the newest.
type Support struct {
	Network     string
	CaseMapping names.CaseMapping
	ChanTypes   string       // "#&"
	StatusMsg   string       // "@+"
	Prefixes    []PrefixMode // from the most powerful down
	ChanModes   [4]string    // lists; always with argument; argument when set; without

	NickLen, ChannelLen, TopicLen, KickLen, AwayLen, UserLen, HostLen int            // bytes; 0: not said
	LineLen                                                           int            // 512 if not said
	Modes                                                             int            // changes with an argument in one MODE; 0: no limit
	MaxTargets                                                        map[string]int // by command; 0: no limit (TARGMAX)
	ChanLimit                                                         map[byte]int   // by channel type; 0: no limit
	MaxList                                                           map[byte]int   // by list mode

	Excepts, InvEx, Bot byte // mode letters, 0: none
	ChatHistory         int  // messages in one request (CHATHISTORY); 0: no limit said
	UTF8Only, WhoX      bool
	Raw                 map[string]string // every token
}

// A PrefixMode is a channel member's status.
type PrefixMode struct{ Mode, Symbol byte } // 'o', '@'

const (
	defaultLineLen = 512
	maxLineLen     = 65536 // nothing above is believed
	maxTokens      = 500   // of a server that does not stop
)

func newSupport() *Support {
	return &Support{
		ChanTypes: "#&", Prefixes: []PrefixMode{{'o', '@'}, {'v', '+'}},
		ChanModes: [4]string{"b", "k", "l", "imnpst"}, LineLen: defaultLineLen, Modes: 3,
		Raw: map[string]string{},
	}
}

// with is a copy that knows the tokens of one RPL_ISUPPORT more.
func (s *Support) with(m *Message) *Support {
	if len(m.Params) < 3 {
		return s
	}
	next := *s
	next.Raw = maps.Clone(s.Raw)
	for _, token := range m.Params[1 : len(m.Params)-1] {
		key, value, _ := strings.Cut(token, "=")
		if gone, ok := strings.CutPrefix(key, "-"); ok {
			delete(next.Raw, gone)
			next.reset(gone)
			continue
		}
		if len(next.Raw) < maxTokens {
			value = unescapeISupport(value)
			next.Raw[key] = value
			next.set(key, value)
		}
	}
	return &next
}

// reset returns to the default of a token that was taken back.
func (s *Support) reset(key string) {
	defaults := newSupport()
	switch key {
	case "CASEMAPPING":
		s.CaseMapping = defaults.CaseMapping
	case "CHANTYPES":
		s.ChanTypes = defaults.ChanTypes
	case "PREFIX":
		s.Prefixes = defaults.Prefixes
	case "CHANMODES":
		s.ChanModes = defaults.ChanModes
	case "LINELEN":
		s.LineLen = defaults.LineLen
	case "MODES":
		s.Modes = defaults.Modes
	case "UTF8ONLY":
		s.UTF8Only = false
	case "WHOX":
		s.WhoX = false
	default:
		s.set(key, "")
		s.unsetLetter(key)
	}
}

func (s *Support) unsetLetter(key string) {
	switch key {
	case "EXCEPTS":
		s.Excepts = 0
	case "INVEX":
		s.InvEx = 0
	case "BOT":
		s.Bot = 0
	}
}

func (s *Support) set(key, value string) {
	if number := s.number(key); number != nil {
		*number = count(value)
		return
	}
	switch key {
	case "NETWORK":
		s.Network = value
	case "CASEMAPPING":
		s.CaseMapping = names.ParseCaseMapping(value)
	case "CHANTYPES":
		s.ChanTypes = value
	case "STATUSMSG":
		s.StatusMsg = value
	case "PREFIX":
		s.setPrefixes(value)
	case "CHANMODES":
		s.ChanModes = [4]string{}
		for i, letters := range strings.SplitN(value, ",", 5)[:min(4, strings.Count(value, ",")+1)] {
			s.ChanModes[i] = letters
		}
	case "LINELEN":
		if n := count(value); n >= defaultLineLen {
			s.LineLen = min(n, maxLineLen)
		}
	case "TARGMAX":
		s.MaxTargets = limitsOf(value)
	case "CHANLIMIT":
		s.ChanLimit = letterLimitsOf(value)
	case "MAXLIST":
		s.MaxList = letterLimitsOf(value)
	case "EXCEPTS":
		s.Excepts = letter(value, 'e')
	case "INVEX":
		s.InvEx = letter(value, 'I')
	case "BOT":
		s.Bot = letter(value, 0)
	case "UTF8ONLY":
		s.UTF8Only = true
	case "WHOX":
		s.WhoX = true
	}
}

// number is the field of a token that is a number.
func (s *Support) number(key string) *int {
	switch key {
	case "NICKLEN", "MAXNICKLEN":
		return &s.NickLen
	case "CHANNELLEN":
		return &s.ChannelLen
	case "TOPICLEN":
		return &s.TopicLen
	case "KICKLEN":
		return &s.KickLen
	case "AWAYLEN":
		return &s.AwayLen
	case "USERLEN":
		return &s.UserLen
	case "HOSTLEN":
		return &s.HostLen
	case "MODES":
		return &s.Modes
	case "CHATHISTORY":
		return &s.ChatHistory
	}
	return nil
}

// Targets is how many targets a command may have; 0: no limit is known. What servers say of it by MAXTARGETS counts
// for commands of which TARGMAX says nothing.
func (s *Support) Targets(command string) int {
	if limit, said := s.MaxTargets[command]; said {
		return limit
	}
	return count(s.Raw["MAXTARGETS"])
}

// setPrefixes reads "(ov)@+"; an empty value means that there are none.
func (s *Support) setPrefixes(value string) {
	modes, symbols, _ := strings.Cut(strings.TrimPrefix(value, "("), ")")
	s.Prefixes = nil
	for i := range min(len(modes), len(symbols)) {
		s.Prefixes = append(s.Prefixes, PrefixMode{modes[i], symbols[i]})
	}
}

// count reads a limit; what is none, or absurd, is 0.
func count(value string) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > 1<<24 {
		return 0
	}
	return n
}

func letter(value string, fallback byte) byte {
	if value == "" {
		return fallback
	}
	return value[0]
}

// limitsOf reads "NAMES:1,PRIVMSG:4,WHOIS:".
func limitsOf(value string) map[string]int {
	limits := map[string]int{}
	for pair := range strings.SplitSeq(value, ",") {
		if key, limit, ok := strings.Cut(pair, ":"); ok {
			limits[key] = count(limit)
		}
	}
	return limits
}

// letterLimitsOf reads "beI:100,q:50".
func letterLimitsOf(value string) map[byte]int {
	limits := map[byte]int{}
	for letters, limit := range limitsOf(value) {
		for i := range len(letters) {
			limits[letters[i]] = limit
		}
	}
	return limits
}

// unescapeISupport decodes \xHH.
func unescapeISupport(s string) string {
	for i := 0; i+3 < len(s); i++ {
		if s[i] != '\\' || s[i+1] != 'x' {
			continue
		}
		if c, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
			s = s[:i] + string([]byte{byte(c)}) + s[i+4:]
		}
	}
	return s
}
