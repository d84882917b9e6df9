package api

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"trestle/internal/matrix"
)

// DefaultBucket counts the requests of routes that name no bucket.
const DefaultBucket = "default"

// A Rate is a token bucket: it holds Burst requests and regains PerSecond.
type Rate struct {
	PerSecond float64
	Burst     int
}

// A RateLimiter is a [Limiter] with a token bucket for each bucket name and
// caller. Names that it has no rate for use the rate of [DefaultBucket], and
// no limit when there is none either.
type RateLimiter struct {
	rates  map[string]pace
	now    func() time.Time
	seed   maphash.Seed
	shards [16]limiterShard
}

// pace is a rate in the terms of the generic cell rate algorithm, which keeps
// one number for each bucket: the time at which it will be full again.
type pace struct {
	interval  time.Duration // between requests
	tolerance time.Duration // how far ahead of time a burst may run
}

type limiterShard struct {
	mu    sync.Mutex
	full  map[string]int64 // when the bucket is full again, Unix ns
	sweep int              // size at which full buckets are dropped
}

// NewRateLimiter makes a limiter; now is usually time.Now.
func NewRateLimiter(rates map[string]Rate, now func() time.Time) *RateLimiter {
	l := &RateLimiter{rates: map[string]pace{}, now: now, seed: maphash.MakeSeed()}
	for name, rate := range rates {
		if rate.PerSecond <= 0 {
			continue
		}
		interval := time.Duration(float64(time.Second) / rate.PerSecond)
		l.rates[name] = pace{interval, interval * time.Duration(max(rate.Burst, 1))}
	}
	for i := range l.shards {
		l.shards[i] = limiterShard{full: map[string]int64{}, sweep: 1024}
	}
	return l
}

// Allow counts a request of a caller: by user or homeserver, or by address when there is
// none. IPv6 addresses count by their /64, which one peer usually has whole.
func (l *RateLimiter) Allow(bucket string, who Caller) error {
	if who.Unlimited {
		return nil
	}
	key := cmp.Or(string(who.UserID), string(who.Server))
	if key == "" {
		key = l.Network(who.RemoteAddr)
	}
	return l.AllowKey(bucket, key)
}

// AllowKey counts a request against a bucket of any key, such as the account
// that somebody tries to log in to.
func (l *RateLimiter) AllowKey(bucket, key string) error {
	p, ok := l.rates[bucket]
	if !ok {
		if p, ok = l.rates[DefaultBucket]; !ok {
			return nil
		}
	}
	key = bucket + "\x00" + key
	now := l.now().UnixNano()
	s := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	full := max(s.full[key], now) + int64(p.interval)
	if early := full - now - int64(p.tolerance); early > 0 {
		return matrix.LimitExceeded(time.Duration(early).Round(time.Millisecond) + time.Millisecond)
	}
	s.full[key] = full
	if len(s.full) > s.sweep {
		s.dropFull(now)
	}
	return nil
}

// GiveBack uncounts a request that AllowKey has counted.
func (l *RateLimiter) GiveBack(bucket, key string) {
	p, ok := l.rates[bucket]
	if !ok {
		if p, ok = l.rates[DefaultBucket]; !ok {
			return
		}
	}
	key = bucket + "\x00" + key
	s := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if full, ok := s.full[key]; ok {
		s.full[key] = full - int64(p.interval)
	}
}

// dropFull forgets the buckets that are full again: a new one is the same.
func (s *limiterShard) dropFull(now int64) {
	for key, full := range s.full {
		if full <= now {
			delete(s.full, key)
		}
	}
	s.sweep = max(1024, 2*len(s.full))
}

// Network is the key of an address: IPv6 addresses count by their /64.
func (*RateLimiter) Network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil || !addr.Is6() || addr.Is4In6() {
		return address
	}
	prefix, _ := addr.WithZone("").Prefix(64)
	return prefix.String()
}
