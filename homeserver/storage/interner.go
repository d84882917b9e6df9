package storage

import (
	"context"
	"fmt"
	"maps"

	"trestle/internal/database"
	"trestle/internal/lru"
)

// internedNames bounds each direction of an interner's memory, in entries.
const internedNames = 200_000

// An Interner turns names into the numbers that large tables hold, and back.
type Interner struct {
	db     *database.DB
	ids    *database.IDs
	byName *lru.Cache[string, int64]
	byNID  *lru.Cache[int64, string]

	selectNIDs, selectNames, insert *database.Statement
}

var (
	selectUserNIDs = database.SQL(`
		SELECT user_nid, user_id
		FROM user_ids
		WHERE user_id = ANY($1)`)
	selectUserIDs = database.SQL(`
		SELECT user_nid, user_id
		FROM user_ids
		WHERE user_nid = ANY($1)`)
	insertUser = database.SQL(`
		INSERT INTO user_ids (user_nid, user_id)
		VALUES ($1, $2)
		ON CONFLICT DO NOTHING`)

	selectTypeNIDs = database.SQL(`
		SELECT type_nid, type
		FROM event_types
		WHERE type = ANY($1)`)
	selectTypes = database.SQL(`
		SELECT type_nid, type
		FROM event_types
		WHERE type_nid = ANY($1)`)
	insertType = database.SQL(`
		INSERT INTO event_types (type_nid, type)
		VALUES ($1, $2)
		ON CONFLICT DO NOTHING`)
)

func newInterner(db *database.DB, ids string, selectNIDs, selectNames, insert *database.Statement) *Interner {
	return &Interner{
		db: db, ids: db.NewIDs(ids),
		byName:     lru.New[string, int64](internedNames, nil),
		byNID:      lru.New[int64, string](internedNames, nil),
		selectNIDs: selectNIDs, selectNames: selectNames, insert: insert,
	}
}

// NID is the number of a name, which gets one if it has none yet.
func (in *Interner) NID(ctx context.Context, name string) (int64, error) {
	if nid, ok := in.byName.Get(name); ok {
		return nid, nil
	}
	found, err := in.NIDs(ctx, []string{name})
	return found[name], err
}

// NIDs is the numbers of names; those that have none yet get theirs together.
func (in *Interner) NIDs(ctx context.Context, names []string) (map[string]int64, error) {
	found, err := in.Lookup(ctx, names)
	if err != nil {
		return nil, err
	}
	fresh := map[string]int64{}
	var missing []string
	var rows [][]any
	for _, name := range names {
		if _, known := found[name]; known || fresh[name] != 0 {
			continue
		}
		if fresh[name], err = in.ids.Next(ctx); err != nil {
			return nil, err
		}
		missing, rows = append(missing, name), append(rows, []any{fresh[name], name})
	}
	if len(missing) == 0 {
		return found, nil
	}
	err = in.db.Update(ctx, func(tx *database.Tx) error { return tx.ExecMany(ctx, in.insert, rows) })
	if err != nil {
		return nil, fmt.Errorf("intern %q: %w", missing, err)
	}
	// Somebody else may have been first: what the table says is true.
	numbered, err := in.lookup(ctx, missing)
	maps.Copy(found, numbered)
	return found, err
}

// Lookup is the numbers of those names that have one.
func (in *Interner) Lookup(ctx context.Context, names []string) (map[string]int64, error) {
	found := make(map[string]int64, len(names))
	var missing []string
	for _, name := range names {
		if nid, ok := in.byName.Get(name); ok {
			found[name] = nid
		} else {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	more, err := in.lookup(ctx, missing)
	maps.Copy(found, more)
	return found, err
}

// Names is the names of numbers, in their order; an unknown number is an error.
func (in *Interner) Names(ctx context.Context, nids []int64) ([]string, error) {
	names := make([]string, len(nids))
	var missing []int64
	for i, nid := range nids {
		name, ok := in.byNID.Get(nid)
		if !ok {
			missing = append(missing, nid)
		}
		names[i] = name
	}
	if len(missing) == 0 {
		return names, nil
	}
	found, err := in.collect(ctx, in.selectNames, missing)
	if err != nil {
		return nil, err
	}
	byNID := make(map[int64]string, len(found))
	for name, nid := range found {
		byNID[nid] = name
	}
	for i, nid := range nids {
		if names[i] == "" {
			name, ok := byNID[nid]
			if !ok {
				return nil, fmt.Errorf("number %d names nothing", nid)
			}
			names[i] = name
		}
	}
	return names, nil
}

func (in *Interner) lookup(ctx context.Context, names []string) (map[string]int64, error) {
	return in.collect(ctx, in.selectNIDs, names)
}

func (in *Interner) collect(ctx context.Context, stmt *database.Statement, keys any) (map[string]int64, error) {
	rows, err := in.db.Read().Query(ctx, stmt, keys)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]int64{}
	for rows.Next() {
		var nid int64
		var name string
		if err := rows.Scan(&nid, &name); err != nil {
			return nil, err
		}
		found[name] = nid
		in.byName.Put(name, nid)
		in.byNID.Put(nid, name)
	}
	return found, rows.Err()
}
