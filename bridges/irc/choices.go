package irc

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"trestle/bridges/bridge"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	selectChoices = database.SQL(`
		SELECT network, user_id, name, chosen
		FROM irc_choices
		ORDER BY network, user_id, name
		LIMIT 10000000`)
	upsertChoice = database.SQL(`
		INSERT INTO irc_choices (network, user_id, name, chosen)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (network, user_id, name) DO UPDATE
		SET chosen = excluded.chosen`)
	insertChoice = database.SQL(`
		INSERT INTO irc_choices (network, user_id, name, chosen)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (network, user_id, name) DO NOTHING`)
	deleteChoice = database.SQL(`
		DELETE FROM irc_choices
		WHERE network = $1
		AND user_id = $2
		AND name = $3`)
)

// awayChoice is made by those who have quit: they are not connected to the network until they ask
// for it.
const awayChoice = "away"

// A feature is something that the bridge does for a user unless the user has said no, on all
// networks.
type feature struct{ name, does string }

var (
	featureMentions = feature{"mentions", "your nick in what is said on IRC mentions you"}
	featurePrivate  = feature{"private", "people on IRC may begin to talk to you alone, as the network's rule has it"}
	featureTyping   = feature{"typing", "people on IRC see that you are typing"}
	features        = []feature{featureMentions, featurePrivate, featureTyping}
)

// A choice is what a user has chosen between: for one network, or for all.
type choice struct {
	network string // empty: all
	user    matrix.UserID
	name    string
}

// choices are those of all users. They are safe for concurrent use.
type choices struct {
	db *database.DB

	mu  sync.Mutex
	all map[choice]bool
}

func loadChoices(ctx context.Context, db *database.DB) (*choices, error) {
	c := &choices{db: db, all: map[choice]bool{}}
	rows, err := db.Read().Query(ctx, selectChoices)
	if err != nil {
		return nil, fmt.Errorf("read the users' choices: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var which choice
		var chosen bool
		if err := rows.Scan(&which.network, &which.user, &which.name, &chosen); err != nil {
			return nil, fmt.Errorf("read the users' choices: %w", err)
		}
		c.all[which] = chosen
	}
	return c, rows.Err()
}

// of is what a user has chosen, or what holds for those who have not.
func (c *choices) of(which choice, otherwise bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if chosen, ok := c.all[which]; ok {
		return chosen
	}
	return otherwise
}

// choose notes a choice, durably.
func (c *choices) choose(ctx context.Context, which choice, chosen bool) error {
	err := c.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, upsertChoice, which.network, which.user, which.name, chosen)
	})
	if err != nil {
		return fmt.Errorf("keep a choice: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[which] = chosen
	return nil
}

// forget takes a choice back.
func (c *choices) forget(ctx context.Context, which choice) error {
	c.mu.Lock()
	_, known := c.all[which]
	c.mu.Unlock()
	if !known {
		return nil
	}
	err := c.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, deleteChoice, which.network, which.user, which.name)
	})
	if err != nil {
		return fmt.Errorf("forget a choice: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, which)
	return nil
}

// wants tells whether a user has left a feature on.
func (s *Service) wants(user matrix.UserID, f feature) bool {
	return s.choices.of(choice{"", user, f.name}, true)
}

func (s *Service) commandFeature(ctx context.Context, call *bridge.Call) (string, error) {
	if len(call.Args) == 0 {
		var text strings.Builder
		for _, f := range features {
			fmt.Fprintln(&text, s.featureLine(call.Sender, f))
		}
		return strings.TrimSpace(text.String()), nil
	}
	for _, f := range features {
		if f.name != strings.ToLower(call.Args[0]) {
			continue
		}
		if len(call.Args) > 1 {
			if err := s.chooseFeature(ctx, call.Sender, f, call.Args[1]); err != nil {
				return "", err
			}
		}
		return s.featureLine(call.Sender, f), nil
	}
	names := make([]string, len(features))
	for i, f := range features {
		names[i] = f.name
	}
	return "", matrix.NotFound("There is no such feature. There are: %s.", strings.Join(names, ", "))
}

func (s *Service) chooseFeature(ctx context.Context, user matrix.UserID, f feature, value string) error {
	which := choice{"", user, f.name}
	switch strings.ToLower(value) {
	case "on", "true", "yes":
		return s.choices.choose(ctx, which, true)
	case "off", "false", "no":
		return s.choices.choose(ctx, which, false)
	case "default":
		return s.choices.forget(ctx, which)
	}
	return matrix.InvalidParam("A feature is on, off, or as it is by default.")
}

func (s *Service) featureLine(user matrix.UserID, f feature) string {
	state := "off"
	if s.wants(user, f) {
		state = "on"
	}
	return fmt.Sprintf("%s is %s (%s)", f.name, state, f.does)
}
