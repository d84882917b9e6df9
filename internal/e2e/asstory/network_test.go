//go:build cgo && libsqlite3

package asstory_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"go.mau.fi/util/configupgrade"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/simplevent"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/event"
)

// A network is one that a bridge made with bridgev2 connects to: in memory, with
// chats that everybody who logs in is in, and so is bob.
type network struct {
	bridge *bridgev2.Bridge
	heard  func(string) // is told what came from Matrix: who, where and what
}

func (n *network) Init(bridge *bridgev2.Bridge)               { n.bridge = bridge }
func (n *network) Start(context.Context) error                { return nil }
func (n *network) GetDBMetaTypes() (types database.MetaTypes) { return types }
func (n *network) GetCapabilities() *bridgev2.NetworkGeneralCapabilities {
	return &bridgev2.NetworkGeneralCapabilities{}
}
func (n *network) GetBridgeInfoVersion() (info, capabilities int)   { return 1, 1 }
func (n *network) GetConfig() (string, any, configupgrade.Upgrader) { return "", nil, nil }

func (n *network) GetName() bridgev2.BridgeName {
	return bridgev2.BridgeName{DisplayName: "Memory", NetworkURL: "https://example.org", NetworkID: "memory", BeeperBridgeType: "memory"}
}

func (n *network) LoadUserLogin(_ context.Context, login *bridgev2.UserLogin) error {
	login.Client = &session{n, login}
	return nil
}

func (n *network) GetLoginFlows() []bridgev2.LoginFlow {
	return []bridgev2.LoginFlow{{ID: "name", Name: "Name", Description: "Log in by a name"}}
}

func (n *network) CreateLogin(_ context.Context, user *bridgev2.User, _ string) (bridgev2.LoginProcess, error) {
	return &entrance{n, user}, nil
}

// An entrance asks who somebody is, and believes it.
type entrance struct {
	*network
	user *bridgev2.User
}

func (*entrance) Start(context.Context) (*bridgev2.LoginStep, error) {
	field := bridgev2.LoginInputDataField{Type: bridgev2.LoginInputFieldTypeUsername, ID: "name", Name: "name"}
	return &bridgev2.LoginStep{
		Type: bridgev2.LoginStepTypeUserInput, StepID: "memory.name",
		UserInputParams: &bridgev2.LoginUserInputParams{Fields: []bridgev2.LoginInputDataField{field}},
	}, nil
}

func (*entrance) Cancel() {}

func (e *entrance) SubmitUserInput(ctx context.Context, input map[string]string) (*bridgev2.LoginStep, error) {
	name := input["name"]
	login, err := e.user.NewLogin(ctx, &database.UserLogin{ID: networkid.UserLoginID(name), RemoteName: name}, nil)
	if err != nil {
		return nil, err
	}
	login.Client.Connect(ctx)
	return &bridgev2.LoginStep{
		Type: bridgev2.LoginStepTypeComplete, StepID: "memory.complete", Instructions: "Welcome, " + name,
		CompleteParams: &bridgev2.LoginCompleteParams{UserLoginID: login.ID, UserLogin: login},
	}, nil
}

// A session is somebody who is logged in.
type session struct {
	*network
	login *bridgev2.UserLogin
}

func (s *session) Connect(context.Context) {
	s.login.BridgeState.Send(status.BridgeState{StateEvent: status.StateConnected})
}
func (s *session) Disconnect()                  {}
func (s *session) IsLoggedIn() bool             { return true }
func (s *session) LogoutRemote(context.Context) {}

func (s *session) IsThisUser(_ context.Context, user networkid.UserID) bool {
	return string(user) == string(s.login.ID)
}

func (s *session) GetChatInfo(_ context.Context, portal *bridgev2.Portal) (*bridgev2.ChatInfo, error) {
	name := "The chat " + string(portal.ID)
	return &bridgev2.ChatInfo{Name: &name, Members: &bridgev2.ChatMemberList{
		IsFull: true,
		MemberMap: bridgev2.ChatMemberMap{
			"bob":                        {EventSender: sender("bob", s.login)},
			networkid.UserID(s.login.ID): {EventSender: sender(string(s.login.ID), s.login)},
		},
	}}, nil
}

func (s *session) GetUserInfo(_ context.Context, ghost *bridgev2.Ghost) (*bridgev2.UserInfo, error) {
	name := string(ghost.ID) + " of the network"
	return &bridgev2.UserInfo{Name: &name}, nil
}

func (s *session) GetCapabilities(context.Context, *bridgev2.Portal) *event.RoomFeatures {
	return &event.RoomFeatures{ID: "memory"}
}

func (s *session) HandleMatrixMessage(_ context.Context, msg *bridgev2.MatrixMessage) (*bridgev2.MatrixMessageResponse, error) {
	s.heard(fmt.Sprintf("%s in %s: %s", s.login.ID, msg.Portal.ID, msg.Content.Body))
	return &bridgev2.MatrixMessageResponse{DB: &database.Message{ID: messageID(), SenderID: networkid.UserID(s.login.ID)}}, nil
}

// messageID is one that there was never before, even if the bridge was.
func messageID() networkid.MessageID {
	return networkid.MessageID(rand.Text())
}

func sender(who string, login *bridgev2.UserLogin) bridgev2.EventSender {
	s := bridgev2.EventSender{Sender: networkid.UserID(who)}
	if who == string(login.ID) {
		s.IsFromMe, s.SenderLogin = true, login.ID
	}
	return s
}

// say has somebody on the network say something in a chat.
func (n *network) say(login *bridgev2.UserLogin, chat, who, text string) {
	login.QueueRemoteEvent(&simplevent.PreConvertedMessage{
		EventMeta: simplevent.EventMeta{
			Type: bridgev2.RemoteEventMessage, PortalKey: networkid.PortalKey{ID: networkid.PortalID(chat)},
			Sender: sender(who, login), CreatePortal: true, Timestamp: time.Now(),
		},
		ID: messageID(),
		Data: &bridgev2.ConvertedMessage{Parts: []*bridgev2.ConvertedMessagePart{{
			Type: event.EventMessage, Content: &event.MessageEventContent{MsgType: event.MsgText, Body: text},
		}}},
	})
}
