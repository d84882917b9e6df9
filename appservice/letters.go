package appservice

// A Pause is an operator's word that a service is sent no transactions.
type Pause struct {
	Service string
	Reason  string
	Since   int64 // ms since 1970
}

// A DeadLetter is a transaction that an operator has taken out of a service's
// queue. It keeps its ID and its bytes.
type DeadLetter struct {
	Number      int64 // of the letter; none is given twice
	Service     string
	Transaction string // the ID under which it was sent, and will be again

	Position int64 // up to where the stream had been read when it was frozen
	Events   int   // how many room events are inside
	Oldest   int64 // when the oldest change inside came about, ms since 1970, or 0
	Size     int   // of the body, in bytes

	Reason    string // why it was skipped
	By        string // who did that
	SkippedAt int64  // ms since 1970

	// Attempts is how often it was sent in vain since the server started that
	// skipped it, replays included.
	Attempts  int
	LastError string
	FailedAt  int64 // of the last attempt, ms since 1970, or 0

	Body []byte // exactly as it was sent; nil in lists
}

// A Skipped is what an operator has taken out of a queue when all of it was skipped.
type Skipped struct {
	Transactions, Frozen int // that are dead letters now, and the events in them
	Passed               int // other events, which are not sent
	// AtMost says that Passed may be too large: some of it has waited since before
	// the server started, and nobody has looked whether it is of interest.
	AtMost bool
}
