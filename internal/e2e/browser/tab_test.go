package browser_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A tab shows a page.
type tab struct {
	*chromium
	t       *testing.T
	session string

	mu         sync.Mutex
	complaints []string // what went to the console as an error or warning
	permitted  []string
}

// tab opens one, without scripts if that is wanted. A complaint of the page or
// of the browser about it fails the test.
func (c *chromium) tab(t *testing.T, scripts bool) *tab {
	t.Helper()
	var target struct {
		TargetID string `json:"targetId"`
	}
	if err := c.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		t.Fatal(err)
	}
	return c.attach(t, target.TargetID, scripts)
}

// opens is the tab that an expression opens.
func (t *tab) opens(expression string) *tab {
	t.t.Helper()
	known := t.targets()
	params := map[string]any{"expression": expression, "userGesture": true}
	t.do("Runtime.evaluate", params, nil)
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		for target := range t.targets() {
			if !known[target] {
				return t.attach(t.t, target, true)
			}
		}
	}
	t.t.Fatalf("%s opens nothing", expression)
	return nil
}

// targets are the IDs of all pages.
func (t *tab) targets() map[string]bool {
	t.t.Helper()
	var known struct {
		TargetInfos []struct {
			TargetID string `json:"targetId"`
			Type     string `json:"type"`
		} `json:"targetInfos"`
	}
	t.must(t.call("", "Target.getTargets", map[string]any{}, &known))
	ids := map[string]bool{}
	for _, target := range known.TargetInfos {
		if target.Type == "page" {
			ids[target.TargetID] = true
		}
	}
	return ids
}

func (c *chromium) attach(t *testing.T, target string, scripts bool) *tab {
	t.Helper()
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	if err := c.call("", "Target.attachToTarget", map[string]any{"targetId": target, "flatten": true}, &attached); err != nil {
		t.Fatal(err)
	}
	shown := &tab{chromium: c, t: t, session: attached.SessionID}
	c.mu.Lock()
	c.tabs[shown.session] = shown
	c.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		shown.do(domain+".enable", map[string]any{}, nil)
	}
	shown.do("Emulation.setScriptExecutionDisabled", map[string]any{"value": !scripts}, nil)
	t.Cleanup(func() {
		shown.mu.Lock()
		defer shown.mu.Unlock()
		for _, complaint := range shown.complaints {
			if !shown.permits(complaint) {
				t.Errorf("the console of a page says: %s", complaint)
			}
		}
	})
	return shown
}

func (t *tab) must(err error) {
	t.t.Helper()
	if err != nil {
		t.t.Fatal(err)
	}
}

// permit lets complaints with this text pass.
func (t *tab) permit(texts ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.permitted = append(t.permitted, texts...)
}

func (t *tab) permits(complaint string) bool {
	for _, text := range t.permitted {
		if strings.Contains(complaint, text) {
			return true
		}
	}
	return false
}

// happens notes events that are complaints.
func (t *tab) happens(m message) {
	var e struct {
		Entry struct{ Level, Text, URL string }
		Type  string
		Args  []struct {
			Value       any
			Description string
		}
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := json.Unmarshal(m.Params, &e); err != nil {
		return // of another shape
	}
	var complaint string
	switch {
	case m.Method == "Log.entryAdded" && (e.Entry.Level == "error" || e.Entry.Level == "warning"):
		complaint = e.Entry.Text + " (" + e.Entry.URL + ")"
	case m.Method == "Runtime.exceptionThrown":
		complaint = e.ExceptionDetails.Text + " " + e.ExceptionDetails.Exception.Description
	case m.Method == "Runtime.consoleAPICalled" && (e.Type == "error" || e.Type == "assert"):
		for _, arg := range e.Args {
			complaint += fmt.Sprint(arg.Value, " ", arg.Description, " ")
		}
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.complaints = append(t.complaints, complaint)
}

func (t *tab) do(method string, params, out any) {
	t.t.Helper()
	t.must(t.call(t.session, method, params, out))
}

// open goes to an address and waits until something is there.
func (t *tab) open(url, selector string) {
	t.t.Helper()
	var opened struct{ ErrorText string }
	t.do("Page.navigate", map[string]any{"url": url}, &opened)
	if opened.ErrorText != "" {
		t.t.Fatalf("%s: %s", url, opened.ErrorText)
	}
	t.find(selector)
}

// eval is the value of an expression in the page. DevTools have scripts even
// where the page has none.
func (t *tab) eval(expression string, out any) error {
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	params := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}
	if err := t.call(t.session, "Runtime.evaluate", params, &got); err != nil {
		return err
	}
	if got.ExceptionDetails != nil {
		return fmt.Errorf("%s: %s %s", expression, got.ExceptionDetails.Text, got.ExceptionDetails.Exception.Description)
	}
	if out == nil || got.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(got.Result.Value, out)
}

// until waits for an expression to be true.
func (t *tab) until(what, expression string) {
	t.t.Helper()
	t.eventually(what, func() (yes bool, err error) {
		err = t.eval("!!("+expression+")", &yes)
		return yes, err
	})
}

// eventually waits for something to hold. Errors are of a page that is another
// by now, as a rule.
func (t *tab) eventually(what string, holds func() (bool, error)) {
	t.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := holds()
		if err == nil && yes {
			return
		}
		if errors.Is(err, errGone) || time.Now().After(deadline) {
			var text string
			_ = t.eval("document.body?.innerText ?? ''", &text)
			t.picture("missing")
			t.t.Fatalf("there is never %s (%v); the page says:\n%s", what, err, text)
		}
		<-tick.C
	}
}

// find waits for an element.
func (t *tab) find(selector string) {
	t.t.Helper()
	t.until(selector, "document.querySelector("+quoted(selector)+")")
}

// says waits for a text on the page.
func (t *tab) says(text string) {
	t.t.Helper()
	t.until("“"+text+"”", "document.body?.innerText.includes("+quoted(text)+")")
}

// click clicks on what has this selector.
func (t *tab) click(selector string) {
	t.t.Helper()
	t.clickOn(selector, "document.querySelector("+quoted(selector)+")", nil)
}

// press clicks what has this text.
func (t *tab) press(text string) {
	t.t.Helper()
	t.hold(text, nil)
}

// hold presses what has this text, and lets it go when something has happened.
func (t *tab) hold(text string, happens func()) {
	t.t.Helper()
	t.clickOn("“"+text+"”", `[...document.querySelectorAll("a, button")].find((e) => e.innerText.trim().toLowerCase() === `+
		quoted(strings.ToLower(text))+`)`, happens)
}

// clickOn clicks where an element is, as a mouse does. It goes there first,
// presses when the page shows that it is there, and begins again if it does not
// hold the element then: a page that has not been painted takes no notice of a
// mouse, one whose style sheet comes late moves, and one that is live may have
// another element in its place.
func (t *tab) clickOn(what, element string, happens func()) {
	t.t.Helper()
	var at, went struct {
		X, Y                 float64
		There, Under, Active bool
	}
	look := func() error {
		at.There = false
		return t.eval(`(() => {
			const e = `+element+`;
			if (!e || document.readyState !== "complete") return { There: false };
			e.scrollIntoView({ block: "center", behavior: "instant" });
			const box = e.getBoundingClientRect();
			return { There: true, X: box.x + box.width / 2, Y: box.y + box.height / 2,
				Under: e.matches(":hover"), Active: e.matches(":active") };
		})()`, &at)
	}
	mouse := func(kind, button string, clicks int) error {
		params := map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": button, "clickCount": clicks}
		return t.call(t.session, "Input.dispatchMouseEvent", params, nil)
	}
	t.eventually("a click on "+what, func() (bool, error) {
		if err := look(); err != nil || !at.There {
			return false, err
		}
		if !at.Under || at.X != went.X || at.Y != went.Y {
			went = at
			return false, mouse("mouseMoved", "none", 0)
		}
		if err := mouse("mousePressed", "left", 1); err != nil {
			return false, err
		}
		err := look()
		held := at.There && at.Active
		at = went
		if held && happens != nil {
			happens()
		}
		return held, errors.Join(err, mouse("mouseReleased", "left", 1))
	})
}

// fill types into a field in place of what is there.
func (t *tab) fill(selector, text string) {
	t.t.Helper()
	t.find(selector)
	t.must(t.eval("document.querySelector("+quoted(selector)+").select()", nil))
	t.do("Input.insertText", map[string]any{"text": text}, nil)
}

// enter presses the key.
func (t *tab) enter() {
	t.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		t.do("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13}, nil)
	}
}

// picture writes what the page looks like to the folder that
// TEST_SCREENSHOTS names, if it does.
func (t *tab) picture(name string) {
	t.t.Helper()
	folder := os.Getenv("TEST_SCREENSHOTS")
	if folder == "" {
		return
	}
	var shot struct{ Data string }
	t.do("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	t.must(err)
	t.must(os.MkdirAll(folder, 0o755))
	name = strings.ReplaceAll(t.t.Name(), "/", "-") + "-" + name + ".png"
	t.must(os.WriteFile(filepath.Join(folder, name), data, 0o644))
}

// quoted is a text as JavaScript has it.
func quoted(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}
