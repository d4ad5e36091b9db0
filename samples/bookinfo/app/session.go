package app

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// userCookie holds the name of who is signed in. Any name is accepted without a
// password, so there is nothing to protect by signing it: it only has to survive
// between pages and replicas, and to be safe as a header value.
const userCookie = "bookinfo_user"

const maxUserName = 48

// cleanUser returns name as it may be used in a header and on the page, or "".
func cleanUser(name string) string {
	name = strings.TrimSpace(name)
	if name == "" || utf8.RuneCountInString(name) > maxUserName || !utf8.ValidString(name) {
		return ""
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return ""
		}
	}
	return name
}

// userOf returns who is signed in, "" when nobody is.
func userOf(r *http.Request) string {
	c, err := r.Cookie(userCookie)
	if err != nil {
		return ""
	}
	name, err := url.QueryUnescape(c.Value)
	if err != nil {
		return ""
	}
	return cleanUser(name)
}

// setUser signs name in, or out when name is "".
func setUser(w http.ResponseWriter, name string) {
	c := &http.Cookie{
		Name: userCookie, Value: url.QueryEscape(name), Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if name == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// login signs in whoever the form names; the password is not looked at.
func login(w http.ResponseWriter, r *http.Request) {
	name := cleanUser(r.PostFormValue("username"))
	if name == "" {
		http.Error(w, "a user name has between 1 and 48 printable characters", http.StatusBadRequest)
		return
	}
	setUser(w, name)
	http.Redirect(w, r, "/productpage", http.StatusSeeOther)
}

func logout(w http.ResponseWriter, r *http.Request) {
	setUser(w, "")
	http.Redirect(w, r, "/productpage", http.StatusSeeOther)
}
