"""What a page says, for tests."""

import base64
import json
from html.parser import HTMLParser


class Reader(HTMLParser):
    """Collects what a page would fetch, its data, its texts, ids and links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.inner: list[str] = []
        self.labels: list[str] = []
        self.downloads: dict[str, str] = {}
        self.charts: list[dict] = []
        self.text = ""
        self._chart = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self._chart = found.get("class") == "chart"
        self.ids += [found["id"]] if "id" in found else []
        self.labels += [found[name] for name in ("aria-label", "alt") if name in found]
        for link in (found[name] for name in ("src", "href") if name in found):
            if link.startswith("#"):
                self.inner.append(link[1:])
            elif not link.startswith("data:"):
                self.fetched.append(link)
        if "download" in found:
            _, _, data = found["href"].partition("base64,")
            self.downloads[found["download"]] = base64.b64decode(data).decode()

    def handle_data(self, text):
        if self._chart and text.strip():
            self.charts.append(json.loads(text))
        self.text += text

    def handle_endtag(self, tag):
        self._chart = False
