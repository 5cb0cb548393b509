"""HTML and SVG responses for browsers."""

from __future__ import annotations

import flask
from markupsafe import escape

_VERIFIED = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Address verified · Uprez</title>
<style>
  body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; margin: 18vh auto; padding: 0 1.5rem }
  h1 { font-size: 1.6rem }
</style>
<h1>Your email address is verified</h1>
<p>You can close this page and log in.</p>
</html>
"""

_INITIALS = """<svg xmlns="http://www.w3.org/2000/svg" width="128" height="128" viewBox="0 0 128 128" role="img">
<rect width="128" height="128" fill="hsl({hue} 45% 42%)"/>
<text x="64" y="66" fill="#fff" font-family="system-ui, sans-serif" font-size="54" text-anchor="middle"
 dominant-baseline="central">{letters}</text>
</svg>
"""
_CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""These pages load and run nothing."""


def verified_page() -> flask.Response:
    """Return the HTML page that confirms an email address; it may load nothing."""
    response = flask.Response(_VERIFIED, mimetype="text/html")
    response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    return response


def initials_image(letters: str) -> flask.Response:
    """Return the letters, escaped, as an SVG image that may be cached for a day.

    Its colour depends on the letters.
    """
    hue = sum(map(ord, letters)) * 47 % 360
    svg = _INITIALS.format(hue=hue, letters=escape(letters))
    response = flask.Response(svg, mimetype="image/svg+xml")
    response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    response.headers["Cache-Control"] = "public, max-age=86400"
    return response
