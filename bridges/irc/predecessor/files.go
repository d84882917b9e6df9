package predecessor

import (
	"strings"

	"trestle/internal/matrix"
)

// Files are those that the new configuration names, by their names in the data folder: certificates, and
// who is not bridged. blocked are the users that the store says are not; it is added to the bans of all
// networks.
func (c *Config) Files(blocked []matrix.UserID) map[string][]byte {
	files := map[string][]byte{}
	for _, n := range c.Networks {
		if n.Authorities != "" {
			files[n.Settings.CAFile] = []byte(n.Authorities)
		}
		lines := n.Bans
		for _, user := range blocked {
			if !strings.ContainsAny(string(user), "*? \t\r\n") {
				lines = append(lines[:len(lines):len(lines)], "user "+string(user))
			}
		}
		if len(lines) == 0 {
			continue
		}
		n.Settings.BanFile, n.from["ban_file"] = "irc-bans-"+n.ID, "excludedUsers, dynamicChannels.exclude, and deactivated_users of the store"
		files[n.Settings.BanFile] = []byte("# Who is not bridged, of matrix-appservice-irc.\n" + strings.Join(lines, "\n") + "\n")
	}
	return files
}
