package adminapi_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

func (p *person) upload(content string) string {
	p.t.Helper()
	r := p.do("POST", "/_matrix/media/v3/upload", []byte(content), "Content-Type: text/plain")
	id, ok := strings.CutPrefix(r.text("content_uri"), "mxc://hs.example/")
	if !ok {
		p.t.Fatalf("%d %s", r.status, r.body)
	}
	return id
}

func (s *server) files() (n int) {
	_ = filepath.WalkDir(s.cfg.Media.Path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	return n
}

func TestMedia(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice := s.admin(), s.person("alice")
		const download = "/_matrix/client/v1/media/download/hs.example/"
		one, two, same := alice.upload("one"), alice.upload("two"), alice.upload("two")
		room := alice.room("private_chat", "Pictures")
		alice.must("PUT", v3+"/rooms/"+room+"/send/m.room.message/1", map[string]any{
			"msgtype": "m.image", "body": "x", "url": "mxc://hs.example/" + one, "info": map[string]string{"thumbnail_url": "mxc://far.example/t"},
		})
		r := root.must("GET", v1+"/room/"+room+"/media", nil)
		if fmt.Sprint(r.at("local")) != "[mxc://hs.example/"+one+"]" || fmt.Sprint(r.at("remote")) != "[mxc://far.example/t]" {
			t.Error(r.body)
		}
		if r := root.must("POST", v1+"/room/"+room+"/media/quarantine", nil); r.at("num_quarantined") != 1.0 {
			t.Error(r.body)
		}
		alice.refused("GET", download+one, nil, 404, "M_NOT_FOUND")
		if r := root.must("GET", v1+"/media/hs.example/"+one, nil); r.text("media_info", "quarantined_by") != root.user {
			t.Error(r.body)
		}
		root.must("POST", v1+"/media/unquarantine/hs.example/"+one, nil)
		alice.must("GET", download+one, nil)
		root.must("POST", v1+"/media/protect/"+one, nil)
		if r := root.must("POST", v1+"/user/"+alice.user+"/media/quarantine", nil); r.at("num_quarantined") != 2.0 {
			t.Error(r.body)
		}
		alice.must("GET", download+one, nil)
		alice.refused("GET", download+two, nil, 404, "M_NOT_FOUND")
		if r := alice.do("POST", "/_matrix/media/v3/upload", []byte("two"), "Content-Type: text/plain"); r.status != 403 || r.text("errcode") != "M_FORBIDDEN" {
			t.Errorf("the same once more: %d %s", r.status, r.body)
		}
		root.must("POST", v1+"/media/unprotect/"+one, nil)
		for _, id := range []string{two, same} {
			root.must("POST", v1+"/media/unquarantine/hs.example/"+id, nil)
		}
		if r := root.must("GET", v1+"/users/"+alice.user+"/media?limit=2", nil); r.at("total") != 3.0 || r.at("next_token") != 2.0 {
			t.Error(r.body)
		}
		// The file goes with the last ID that it is for.
		if n := s.files(); n != 2 {
			t.Fatalf("%d files", n)
		}
		root.must("DELETE", v1+"/media/hs.example/"+two, nil)
		alice.must("GET", download+same, nil)
		root.must("DELETE", v1+"/media/hs.example/"+same, nil)
		alice.refused("GET", download+same, nil, 404, "M_NOT_FOUND")
		if n := s.files(); n != 1 {
			t.Errorf("%d files", n)
		}
		root.refused("DELETE", v1+"/media/hs.example/"+same, nil, 404, "M_NOT_FOUND")
		// By age: an avatar stays.
		alice.must("PUT", v3+"/profile/"+alice.user+"/avatar_url", map[string]string{"avatar_url": "mxc://hs.example/" + one})
		alice.upload("three")
		later := fmt.Sprint(time.Now().Add(time.Hour).UnixMilli())
		if r := root.must("POST", v1+"/media/delete?before_ts="+later+"&size_gt=1000", nil); r.at("total") != 0.0 {
			t.Error(r.body)
		}
		if r := root.must("POST", v1+"/media/delete?before_ts="+later, nil); r.at("total") != 1.0 {
			t.Error(r.body)
		}
		alice.must("GET", download+one, nil)
		if r := root.must("POST", v1+"/purge_media_cache?before_ts="+later, nil); r.at("deleted") != 0.0 {
			t.Error(r.body)
		}
		if r := root.must("DELETE", v1+"/users/"+alice.user+"/media", nil); r.at("total") != 1.0 {
			t.Error(r.body)
		}
		if n := s.files(); n != 0 {
			t.Errorf("%d files", n)
		}
	})
}
