package database

import "time"

// RideAlone sets how long background functions wait for company.
func (db *DB) RideAlone(after time.Duration) {
	db.commits.mu.Lock()
	defer db.commits.mu.Unlock()
	db.commits.alone = after
}

// Riders is how many background functions wait for company.
func (db *DB) Riders() int {
	db.commits.mu.Lock()
	defer db.commits.mu.Unlock()
	return len(db.commits.riders)
}
