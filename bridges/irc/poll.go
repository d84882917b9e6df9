package irc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/format"
	"trestle/internal/matrix"
)

// Polls are MSC3381's, under the names that it has now and those that clients still send.
const (
	pollStart    = "start"
	pollResponse = "response"
	pollEnd      = "end"

	maxPollAnswers = 20
	maxPollText    = 200 // bytes of a question or an answer
)

// kindOfPoll is what an event's type means for a poll; empty if nothing.
func kindOfPoll(eventType string) string {
	for _, prefix := range []string{"m.poll.", "org.matrix.msc3381.poll."} {
		switch kind, ok := strings.CutPrefix(eventType, prefix); {
		case ok && (kind == pollStart || kind == pollResponse || kind == pollEnd):
			return kind
		}
	}
	return ""
}

// A poll is one as its event has it.
type poll struct {
	Kind     string       `json:"kind"`
	Question pollText     `json:"question"`
	Answers  []pollAnswer `json:"answers"`
}

type pollAnswer struct {
	ID    string `json:"m.id"`
	OldID string `json:"id"`
	pollText
}

// A pollText is a text in either form: m.text is a list, of which one is plain.
type pollText struct {
	Text []struct {
		Body string `json:"body"`
		Type string `json:"mimetype"`
	} `json:"m.text"`
	Old  string `json:"org.matrix.msc1767.text"`
	Body string `json:"body"`
}

func (t pollText) String() string {
	for _, text := range t.Text {
		if text.Type == "" || text.Type == "text/plain" {
			return clip(oneLine(text.Body), maxPollText)
		}
	}
	if t.Old == "" {
		return clip(oneLine(t.Body), maxPollText)
	}
	return clip(oneLine(t.Old), maxPollText)
}

func (a pollAnswer) id() string {
	if a.ID != "" {
		return a.ID
	}
	return a.OldID
}

// undisclosed tells whether votes are secret until the end.
func (p poll) undisclosed() bool { return !strings.HasSuffix(p.Kind, ".disclosed") }

// text is the question, and a line for each answer.
func (p poll) text() string {
	text := p.Question.String()
	for i, answer := range p.Answers {
		text += fmt.Sprintf("\n%d. %s", i+1, answer)
	}
	return text
}

// parsePoll reads the start of a poll.
func parsePoll(content []byte) (p poll, ok bool) {
	var both struct {
		New *poll `json:"m.poll"`
		Old *poll `json:"org.matrix.msc3381.poll.start"`
	}
	if json.Unmarshal(content, &both) != nil {
		return p, false
	}
	switch {
	case both.New != nil:
		p = *both.New
	case both.Old != nil:
		p = *both.Old
	}
	p.Answers = p.Answers[:min(len(p.Answers), maxPollAnswers)]
	return p, p.Question.String() != "" && len(p.Answers) > 0
}

// parseVote reads which answers somebody has chosen, and in which poll.
func parseVote(content []byte) (start matrix.EventID, answers []string) {
	var vote struct {
		Relates struct {
			Event matrix.EventID `json:"event_id"`
		} `json:"m.relates_to"`
		New []string `json:"m.selections"`
		Old struct {
			Answers []string `json:"answers"`
		} `json:"org.matrix.msc3381.poll.response"`
	}
	if json.Unmarshal(content, &vote) != nil {
		return "", nil
	}
	answers = append(vote.New, vote.Old.Answers...)
	return vote.Relates.Event, answers[:min(len(answers), maxPollAnswers)]
}

func (n *network) pollStarted(p *bridge.Portal, e *client.Event) saying {
	start, ok := parsePoll(e.Content.VeryRaw)
	if !ok {
		return saying{}
	}
	return saying{lines: n.shorten(p, e, format.Plain("[poll] "+start.text(), format.ToOptions{}))}
}

// pollAnswered tells a vote that is no secret.
func (n *network) pollAnswered(ctx context.Context, p *bridge.Portal, e *client.Event) saying {
	event, chosen := parseVote(e.Content.VeryRaw)
	start, ok := n.pollOf(ctx, p, event)
	if !ok || start.undisclosed() || n.now().Reactions == "off" || n.now().Reactions == "tags" {
		return saying{}
	}
	var names []string
	for i, answer := range start.Answers {
		for _, id := range chosen {
			if id == answer.id() {
				names = append(names, fmt.Sprintf("%d (%s)", i+1, answer))
				break
			}
		}
	}
	if len(names) == 0 {
		return saying{}
	}
	text := fmt.Sprintf("[poll “%s”] votes for %s", clip(start.Question.String(), maxThread), strings.Join(names, ", "))
	return saying{lines: format.Plain(text, format.ToOptions{MaxBytes: maxText}).Text}
}

func (n *network) pollEnded(ctx context.Context, p *bridge.Portal, e *client.Event) saying {
	var result pollText
	_ = json.Unmarshal(e.Content.VeryRaw, &result)
	event, _ := parseVote(e.Content.VeryRaw)
	text := "[poll] "
	if start, ok := n.pollOf(ctx, p, event); ok {
		text = fmt.Sprintf("[poll “%s”] ", clip(start.Question.String(), maxThread))
	}
	if outcome := result.String(); outcome != "" {
		text += outcome
	} else {
		text += "The poll has ended."
	}
	return saying{lines: format.Plain(text, format.ToOptions{MaxBytes: maxText}).Text}
}

// pollOf is the poll that an event has started.
func (n *network) pollOf(ctx context.Context, p *bridge.Portal, start matrix.EventID) (poll, bool) {
	if start == "" {
		return poll{}, false
	}
	e, err := p.Event(ctx, start)
	if err != nil || kindOfPoll(e.Type.Type) != pollStart {
		return poll{}, false
	}
	return parsePoll(e.Content.VeryRaw)
}
