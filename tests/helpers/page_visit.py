"""An open page in a browser."""

import shutil
from dataclasses import dataclass, field
from typing import Any, Literal

from sample_report import bare_report, hard_report, large_report, sample_report

CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
REPORTS = {"sample": sample_report, "large": large_report, "hard": hard_report, "bare": bare_report}
Scheme = Literal["light", "dark"]


@dataclass
class Visit:
    """An open page, the errors that the browser reported, and the addresses that it asked for."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def visit(browser: Any, address: str, width: int = 1400, scheme: Scheme = "light", **options: Any) -> Visit:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    visited = Visit(context.new_page())
    visited.page.on("console", lambda message: visited.errors.append(message.text))
    visited.page.on("pageerror", lambda error: visited.errors.append(str(error)))
    visited.page.on("request", lambda request: visited.requests.append(request.url))
    visited.page.goto(address)
    return visited


def wait_until(page: Any, condition: str) -> None:
    """Wait until an expression in JavaScript is true, asked at each frame; fail after 30 seconds.

    Playwright's `wait_for_function` needs eval, which the page's policy forbids.
    """
    page.evaluate(f"""new Promise((resolve, reject) => {{
        const ask = () => {{ if ({condition}) resolve(); else requestAnimationFrame(ask); }};
        setTimeout(reject, 30000, new Error("never true"));
        ask();
    }})""")
