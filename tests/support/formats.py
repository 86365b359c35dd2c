"""What the `format`s of JSON Schema hold, said with the standard library: an oracle for tests.

Of formats without a decisive rule here, texts that are only plausible are remembered in UNDECIDED.
"""
import datetime
import ipaddress
import re
import urllib.parse

UNDECIDED = []


def _time(text):
    match = re.fullmatch(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(Z|[+-]([0-9]{2}):([0-9]{2}))", text)
    if not match:
        return False
    hours, minutes, seconds = (int(match[i]) for i in (1, 2, 3))
    zone = match[5] == "Z" or (int(match[6]) < 24 and int(match[7]) < 60)
    return hours < 24 and minutes < 60 and seconds < 60 and zone


def _date(text):
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        datetime.date.fromisoformat(text)
        return True
    except ValueError:
        return False


def _address(kind):
    def check(text):
        try:
            return "%" not in text and bool(kind(text))
        except ValueError:
            return False

    return check


def _hostname(text):
    labels = text.split(".")
    return len(text) <= 253 and all(
        re.fullmatch(r"[A-Za-z0-9-]{1,63}", l) and l[0] != "-" and l[-1] != "-" and l[2:4] != "--" for l in labels)


def _pointer(text):
    return text == "" or (text[0] == "/" and not re.search(r"~(?![01])", text))


def _relative_pointer(text):
    match = re.match(r"0|[1-9][0-9]*", text)
    return bool(match) and (text[match.end():] == "#" or _pointer(text[match.end():]))


def _duration(text):
    date, _, time = text[1:].partition("T")
    parts = [re.fullmatch(pattern, part) for pattern, part in
             ((r"([0-9]+Y)?([0-9]+M)?([0-9]+D)?", date), (r"([0-9]+H)?([0-9]+M)?([0-9]+S)?", time))]
    gaps = any(re.fullmatch(p, part) for p, part in ((r"[0-9]+Y[0-9]+D", date), (r"[0-9]+H[0-9]+S", time)))
    if text[:1] == "P" and re.fullmatch(r"[0-9]+W", text[1:]):
        return True
    return text[:1] == "P" and len(text) > 1 and all(parts) and not gaps and ("T" not in text or time != "")


def _email(text):
    local, _, domain = text.rpartition("@")
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+", local) or not _hostname(domain):
        return False
    if "." not in domain:
        UNDECIDED.append(text)  # lawful, but no address of the open net
    return not local.startswith(".") and not local.endswith(".") and ".." not in local


def _reference(absolute):
    def check(text):
        if re.search(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]|%(?![0-9A-Fa-f]{2})", text):
            return False
        try:
            parts = urllib.parse.urlsplit(text)
        except ValueError:
            return False
        UNDECIDED.append(text)
        return bool(parts.scheme) or not absolute

    return check


def _template(text):
    UNDECIDED.append(text)
    return text.count("{") == text.count("}") and not re.search(r"[\s\"<>\\^`|]|\{\}", text)


CHECKS = {
    "date": _date,
    "time": _time,
    "date-time": lambda t: _date(t[:10]) and t[10:11] == "T" and _time(t[11:]),
    "duration": _duration,
    "email": _email,
    "hostname": _hostname,
    "ipv4": _address(ipaddress.IPv4Address),
    "ipv6": _address(ipaddress.IPv6Address),
    "uuid": lambda t: bool(re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", t)),
    "uri": _reference(True),
    "uri-reference": _reference(False),
    "uri-template": _template,
    "json-pointer": _pointer,
    "relative-json-pointer": _relative_pointer,
}


def checker(jsonschema):
    """A FormatChecker of these rules alone."""
    result = jsonschema.FormatChecker(())
    for name, check in CHECKS.items():
        result.checkers[name] = (lambda value, check=check: not isinstance(value, str) or check(value), ())
    return result
