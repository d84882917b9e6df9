package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// widgetClient is what a Matrix client does for a widget: it frames the page, and says who is looking, once the
// user has agreed.
const widgetClient = `((page, credentials) => {
	document.body.innerHTML = "<iframe title=widget width=600 height=700></iframe>";
	const frame = document.querySelector("iframe");
	addEventListener("message", (event) => {
		const message = event.data;
		if (event.source !== frame.contentWindow || message.action !== "get_openid" || message.response) return;
		event.source.postMessage({ ...message, response: { state: "request" } }, event.origin);
		event.source.postMessage({ api: "toWidget", action: "openid_credentials", requestId: "1", widgetId: message.widgetId,
			data: { state: "allowed", original_request_id: message.requestId, ...credentials } }, event.origin);
	});
	frame.src = page;
})`

// TestWidget has a moderator link a room with a channel, by the page that the bridge shows
// in a frame of the client.
func TestWidget(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	irc := testkit.Ngircd(t, testkit.IRCOptions{})
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("server_name: localhost\nopen_registration: true\nbridges:\n  irc:\n    networks:\n      local:\n        enabled: true\n        address: %s\n", irc.Addr)
	if err := os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	server := testkit.StartTrestle(t, testkit.TrestleOptions{Data: data, Bridges: true})
	bob := testkit.DialIRC(t, irc.Addr, "bob")
	bob.Join("#trestle")

	registration := map[string]any{"username": "alice", "password": password, "auth": map[string]any{"type": "m.login.dummy"}}
	status, account := request(t, server, "/register", registration)
	if status != http.StatusOK {
		t.Fatalf("registering is %d %v", status, account)
	}
	token := account["access_token"].(string)
	ask := func(path string, body any) map[string]any {
		t.Helper()
		status, answer := requestAs(t, server, token, path, body)
		if status != http.StatusOK {
			t.Fatalf("%s is %d %v", path, status, answer)
		}
		return answer
	}
	room := ask("/createRoom", map[string]any{"name": "The garden", "preset": "public_chat", "invite": []string{"@irc_bot:localhost"}})["room_id"].(string)
	as := func(method, path, body string) (answer map[string]any) {
		t.Helper()
		client := http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport)}
		r, err := http.NewRequestWithContext(t.Context(), method, server.BaseURL+"/_matrix/client/v3"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s is %d %v %v", method, path, response.StatusCode, answer, err)
		}
		return answer
	}
	for deadline := time.Now().Add(patience); ; {
		joined, _ := as("GET", "/rooms/"+url.PathEscape(room)+"/joined_members", "")["joined"].(map[string]any)
		if joined["@irc_bot:localhost"] != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the bridge does not come into the room")
		}
	}
	credentials := ask("/user/"+url.PathEscape("@alice:localhost")+"/openid/request_token", map[string]any{})

	asJSON, err := json.Marshal(credentials)
	if err != nil {
		t.Fatal(err)
	}
	tab := chromium.tab(t, true)
	tab.open(server.BaseURL+"/_matrix/client/versions", "pre")
	page := "/_trestle/irc/widget?roomId=" + url.QueryEscape(room) + "&widgetId=irc"
	tab.must(tab.eval(fmt.Sprintf("%s(%s, %s)", widgetClient, quoted(page), string(asJSON)), nil))
	within := func(what, expression string) {
		t.Helper()
		tab.until(what, "((document) => "+expression+")(frames[0].document)")
	}
	do := func(expression string) {
		t.Helper()
		tab.must(tab.eval("((document) => { "+expression+" })(frames[0].document)", nil))
	}
	says := func(text string) {
		t.Helper()
		within("“"+text+"”", "document.body.innerText.includes("+quoted(text)+")")
	}
	says("No channel is linked with this room")
	within("the network", `document.querySelector("#network option")?.value === "local"`)
	tab.picture("asked-for")
	do(`document.querySelector("#channel").value = "#trestle"; document.querySelector("#look").click()`)
	says("Its operators: bob")
	do(`document.querySelector("#nick").value = "bob"; document.querySelector("#ask [type=submit]").click()`)
	says("an operator is being asked")
	question := bob.Expect("PRIVMSG bob", "answer here: yes ")
	bob.Say("trestle", "yes "+regexp.MustCompile(`yes (\d+)`).FindStringSubmatch(question)[1])
	bob.Expect("NOTICE bob", "is linked")
	says("#trestle (local): linked")
	tab.picture("linked")
	as("PUT", "/rooms/"+url.PathEscape(room)+"/send/m.room.message/1", `{"msgtype":"m.text","body":"hello from the garden"}`)
	bob.Expect(":alice!", "PRIVMSG #trestle :hello from the garden")
	do(`document.querySelector("#list button").click()`)
	says("No channel is linked with this room")
	bob.Expect("PART #trestle")
}
