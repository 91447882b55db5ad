"""Acts of those who read: people, their mail programs, proxies and scanners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from goodstanding.postoffice import chance, forms, letters
from goodstanding.postoffice.world import mailbox
from goodstanding.postoffice.writers import read, say_farewell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from goodstanding.postoffice.browser import Browser
    from goodstanding.postoffice.desk import Mail
    from goodstanding.postoffice.office import Office
    from goodstanding.postoffice.received import Letter, Link

ONE_CLICK: Final = [("List-Unsubscribe", "One-Click")]


async def open_(office: Office, mail: Mail) -> None:
    """Fetch the images."""
    await _look(office, mail, await read(office, mail), office.web.browser(office.agent(mail)))


async def click(office: Office, mail: Mail) -> None:
    """Fetch the images, then follow the first link that the mail is about."""
    letter = await read(office, mail)
    browser = office.web.browser(office.agent(mail))
    await _look(office, mail, letter, browser)
    link = _content_link(office, letter)
    if link is None:
        office.enter(mail, "failed", how="click", reply="there is no link to follow")
        return
    answer = await office.web.ask(browser, "GET", link.url)
    office.enter(mail, "clicked", reply=str(answer), url=link.url, agent=browser.agent)


async def unsubscribe_by_header(office: Office, mail: Mail) -> None:
    """Press the mail program's button: a POST as in RFC 8058, or else a mail."""
    letter = await read(office, mail)
    url = letter.unsubscribe_url
    if letter.one_click and office.web.may_visit(url):
        browser = office.web.browser(office.agent(mail), follows=False)
        answer = await office.web.ask(browser, "POST", url, ONE_CLICK)
        did = "unsubscribed" if answer.status < 300 else "failed"
        office.enter(mail, did, how="header", reply=str(answer), url=url, agent=browser.agent)
    elif letter.unsubscribe_mail:
        await say_farewell(office, mail, letter)
    else:
        office.enter(mail, "failed", how="header", reply="the mail has no such button")


async def use_page(office: Office, mail: Mail) -> None:
    """Look at the mail, follow its footer link, and press a button of the page's form."""
    temper = office.world.tempers[mail.temper]
    letter = await read(office, mail)
    browser = office.web.browser(office.agent(mail))
    await _look(office, mail, letter, browser)
    url = _leaving_url(office, letter)
    if not url:
        office.enter(mail, "failed", how="page", reply="there is no link to unsubscribe")
        return
    page = await office.web.ask(browser, "GET", url)
    form = next((f for f in forms.read(page.page) if ("act", temper.control) in f.buttons), None)
    if page.status >= 300 or form is None:
        text = f"{page}: the page has no button act={temper.control}"
        office.enter(mail, "failed", how="page", reply=text, url=url, agent=browser.agent)
        return
    reason = ""
    if temper.gives_reason and "reason" in form.boxes:
        seed = office.options.seed
        reason = chance.pick(letters.PHRASES.reasons.texts, seed, "reason", mailbox(mail.recipient))
    texts = [(name, reason if name == "reason" else "") for name in form.boxes]
    target = urljoin(page.url, form.action or page.url)
    where = urlsplit(page.url)
    headers = {"Referer": page.url, "Origin": f"{where.scheme}://{where.netloc}"}
    filled = [*form.fields, *texts, ("act", temper.control)]
    if not office.web.may_visit(target):
        office.enter(mail, "failed", how="page", reply="the form leads elsewhere", url=target)
        return
    answer = await office.web.ask(browser, "POST", target, filled, headers)
    did = "unsubscribed" if answer.status < 300 else "failed"
    how = "page_spam" if temper.control == "spam" else "page_reason" if reason else "page"
    office.enter(mail, did, how=how, reply=str(answer), url=url, agent=browser.agent)


async def scan(office: Office, mail: Mail) -> None:
    """Fetch every link, those to unsubscribe too: HEAD, then GET."""
    letter = await read(office, mail)
    browser = office.web.browser(office.agent(mail), follows=False)
    urls = dict.fromkeys([*(link.url for link in letter.links), letter.unsubscribe_url])
    for url in filter(office.web.may_visit, urls):
        for method in ("HEAD", "GET"):
            answer = await office.web.ask(browser, method, url)
            office.enter(
                mail, "scanned", how=method, reply=str(answer), url=url, agent=browser.agent
            )


async def _look(office: Office, mail: Mail, letter: Letter, browser: Browser) -> None:
    """Fetch every image; one entry in the book, for the mail was opened once."""
    images = [url for url in letter.images if office.web.may_visit(url)]
    answers = {url: await office.web.ask(browser, "GET", url) for url in images}
    if answers:
        pixel = letter.pixel if letter.pixel in answers else images[0]
        office.enter(mail, "opened", reply=str(answers[pixel]), url=pixel, agent=browser.agent)
    else:
        office.enter(mail, "failed", how="open", reply="there is no image to fetch")


def _has(link: Link, words: tuple[str, ...]) -> bool:
    """Say whether a link's text, or where it has none its address, has one of the words."""
    text = (link.text or link.url).casefold()
    return any(word in text for word in words)


def _content_link(office: Office, letter: Letter) -> Link | None:
    words = letters.PHRASES.words
    for link in letter.links:
        is_content = not _has(link, words.leave + words.service)
        if is_content and link.url != letter.unsubscribe_url and office.web.may_visit(link.url):
            return link
    return None


def _leaving_url(office: Office, letter: Letter) -> str:
    footer = [link.url for link in letter.links if _has(link, letters.PHRASES.words.leave)]
    ways = [*footer, letter.unsubscribe_url]
    return next((url for url in ways if office.web.may_visit(url)), "")


ACTS: Final[dict[str, Callable[[Office, Mail], Awaitable[None]]]] = {
    "open": open_,
    "click": click,
    "unsubscribe_by_header": unsubscribe_by_header,
    "use_page": use_page,
    "scan": scan,
}
