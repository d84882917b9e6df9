package clientapi_test

import (
	"net/url"
	"slices"
	"testing"

	"trestle/internal/testkit"
)

// lists syncs once and returns device_lists.
func (d *device) lists() (changed, left []string) {
	d.t.Helper()
	res := d.sync()
	return res.texts("device_lists", "changed"), res.texts("device_lists", "left")
}

// expectLists fails unless the next sync has these device_lists.
func (d *device) expectLists(when string, changed, left []string) {
	d.t.Helper()
	if c, l := d.lists(); !slices.Equal(c, changed) || !slices.Equal(l, left) {
		d.t.Errorf("%s: %s is told changed %v, left %v; want %v, %v", when, d.user, c, l, changed, left)
	}
}

func TestDeviceLists(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob, carol, ghost := s.person("alice"), s.person("bob"), s.person("carol"), s.person("ghost")
		for _, d := range []*device{alice, bob, carol} {
			d.uploadDevice(1)
		}
		justBob := []string{bob.user}
		room := alice.room(ghost)
		alice.sync()

		bob.uploadDevice(2)
		alice.expectLists("a stranger's keys", nil, nil)
		bob.join(room)
		alice.expectLists("somebody joins", justBob, nil)
		alice.expectLists("nothing happens", nil, nil)
		bob.uploadDevice(2)
		alice.expectLists("the same keys again", nil, nil)
		bob.uploadDevice(3)
		alice.expectLists("new keys", justBob, nil)
		alice.uploadDevice(4)
		alice.expectLists("own keys", []string{alice.user}, nil)
		bob.must("PUT", v3+"/profile/"+bob.user+"/displayname", object{"displayname": "Bob"})
		bob.say(room, "hello")
		ghost.must("PUT", v3+"/devices/GHOST", object{"display_name": "no keys"})
		// Without a device, it is as the users of a bridge are.
		ghost.must("POST", v3+"/logout", "{}")
		alice.expectLists("a new name", nil, nil)
		phone := bob.another("PHONE")
		phone.uploadDevice(1)
		alice.expectLists("another device", justBob, nil)
		phone.must("PUT", v3+"/devices/PHONE", object{"display_name": "phone"})
		alice.expectLists("a device's name", justBob, nil)
		phone.must("POST", v3+"/logout", "{}")
		alice.expectLists("a logout", justBob, nil)

		second := alice.room(bob, carol)
		alice.expectLists("a second room", []string{bob.user, carol.user}, nil)
		bob.leave(room)
		alice.expectLists("one of two rooms left", nil, nil)
		bob.leave(second)
		alice.expectLists("the last room left", nil, justBob)
		bob.uploadDevice(5)
		alice.expectLists("keys of somebody who left", nil, nil)
		bob.join(room)
		alice.expectLists("somebody comes back", justBob, nil)

		alice.leave(room)
		alice.expectLists("leaving a room", nil, justBob)
		alice.must("POST", v3+"/rooms/"+second+"/ban", object{"user_id": carol.user})
		alice.expectLists("a ban", nil, []string{carol.user})
		alice.join(room)
		alice.expectLists("coming back", justBob, nil)
	})
}

// What lies between two syncs adds up.
func TestDeviceListsOfLongAgo(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, dsn string) {
		s := newWholeServer(t, dsn)
		alice, bob, carol, dave := s.person("alice"), s.person("bob"), s.person("carol"), s.person("dave")
		for _, d := range []*device{bob, carol, dave} {
			d.uploadDevice(1)
		}
		room := alice.room(bob, carol)
		other := dave.room()
		alice.sync()
		from := alice.since

		// bob goes and comes back, carol goes, comes back, and goes for good;
		// dave is met and left again.
		bob.leave(room)
		bob.join(room)
		bob.must("PUT", v3+"/profile/"+bob.user+"/displayname", object{"displayname": "Bob"})
		carol.leave(room)
		carol.join(room)
		carol.leave(room)
		alice.must("POST", v3+"/rooms/"+room+"/ban", object{"user_id": carol.user})
		alice.join(other)
		alice.leave(other)
		alice.expectLists("much happens", nil, []string{carol.user})

		dave.join(room)
		dave.must("PUT", v3+"/profile/"+dave.user+"/displayname", object{"displayname": "Dave"})
		bob.uploadDevice(2)
		alice.sync()
		res := alice.must("GET", v3+"/keys/changes?"+url.Values{"from": {from}, "to": {alice.since}}.Encode(), nil)
		if changed, left := res.texts("changed"), res.texts("left"); !slices.Equal(changed, []string{bob.user, dave.user}) || !slices.Equal(left, []string{carol.user}) {
			t.Errorf("changes since then: %s", res.body)
		}
	})
}

// An invitation alone says nothing about who is in the room.
func TestDeviceListsOfInvites(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		bob.uploadDevice(1)
		carol.uploadDevice(1)
		room := alice.room(carol)
		alice.sync()
		bob.sync()
		alice.must("POST", v3+"/rooms/"+room+"/invite", object{"user_id": bob.user})
		bob.expectLists("an invite", nil, nil)
		alice.expectLists("inviting", nil, nil)
		bob.leave(room)
		bob.expectLists("declining", nil, nil)
		alice.expectLists("an invite declined", nil, nil)
	})
}
