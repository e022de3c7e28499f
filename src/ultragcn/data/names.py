"""What columns are called: in public data sets, in databases and in Korean, without case and punctuation."""

import re
import unicodedata
from collections.abc import Sequence

# Of each role the first name that is there is taken.
KNOWN = {
    "user": ("userid", "user", "uid", "useridx", "customerid", "customer", "customername", "memberid", "member", "accountid", "account",
             "clientid", "client", "visitorid", "visitor", "reviewerid", "reviewer", "personid", "person", "profileid", "listener",
             "buyerid", "buyer", "shopperid", "shopper", "subscriberid", "subscriber", "playerid", "player", "patronid", "patron",
             "sessionid", "session", "username", "사용자id", "사용자", "유저id", "유저", "회원id", "회원번호", "회원", "고객id", "고객번호",
             "고객", "이용자id", "이용자", "kunde", "kundennr", "kundennummer", "kundenid", "nutzer", "nutzerid", "benutzer", "cliente",
             "utilisateur", "usuario"),
    "item": ("itemid", "item", "iid", "itemidx", "movieid", "movie", "productid", "product", "asin", "parentasin", "stockcode", "sku",
             "bookid", "book", "isbn", "trackid", "track", "songid", "song", "artistid", "artist", "albumid", "album", "videoid", "video",
             "gameid", "game", "articleid", "article", "newsid", "businessid", "business", "venueid", "locationid", "recipeid",
             "contentid", "animeid", "itemname", "productname", "아이템id", "아이템", "상품id", "상품번호", "상품코드", "상품",
             "제품id", "제품", "품목코드", "품목", "영화id", "영화", "도서id", "도서", "콘텐츠id", "콘텐츠", "상품명", "제품명",
             "productsku", "itemsku", "artikel", "artikelnr", "artikelnummer", "artikelid", "produkt", "produktid", "produit", "producto",
             "filmid", "film"),
    "rating": ("rating", "ratings", "score", "stars", "overall", "bookrating", "reviewscore", "weight", "playcount", "plays", "count",
               "bewertung", "평점", "별점", "점수", "수량"),
    "time": ("timestamp", "time", "datetime", "date", "ts", "unixtime", "unixreviewtime", "eventtime", "createdat", "reviewtime",
             "ratingtime", "watchedat", "purchasedat", "orderdate", "invoicedate", "시각", "시간", "일시", "날짜", "일자",
             "구매일", "구매일자", "구매일시", "주문일", "주문일자", "주문일시", "등록일", "datum", "tdat", "fecha", "day", "when", "zeit",
             "zeitpunkt", "zeitstempel", "bestelldatum", "kaufdatum", "rechnungsdatum", "playedat", "orderedat", "horodatage"),
    "title": ("title", "itemtitle", "movietitle", "booktitle", "producttitle", "name", "itemname", "productname", "moviename", "songname",
              "trackname", "artistname", "description", "제목", "이름", "상품명", "제품명", "영화제목", "도서명", "titel", "bezeichnung"),
    "quantity": ("quantity", "qty", "amount", "units", "unitsold", "unitssold", "menge", "anzahl", "수량", "count", "playcount", "plays"),
}  # fmt: skip
LIKINGS = frozenset(("rating", "ratings", "bookrating", "score", "stars", "overall", "reviewscore", "label", "target", "like", "liked",
                     "vote", "votes", "sentiment", "feedback", "preference", "rate", "평점", "별점", "점수", "bewertung", "sterne",
                     "grade", "nota", "valoracion"))  # fmt: skip
"""Names of columns whose values at or below 0 mean that somebody did not like something."""
EVENTS = frozenset(("event", "events", "eventtype", "eventname", "eventkind", "action", "actions", "actiontype", "activity", "activitytype",
                    "behavior", "behaviour", "behaviortype", "behaviourtype", "interaction", "interactiontype", "type", "kind", "verb",
                    "status", "state", "aktion", "ereignis", "typ", "art", "vorgang", "이벤트", "행동", "유형", "evento", "accion",
                    "evenement"))  # fmt: skip
"""Names of columns that say what happened: looked at, put into the cart, bought."""
_NO_EVENTS = frozenset(("device", "platform", "os", "browser", "app", "country", "region", "city", "state", "land", "gender", "sex", "age",
                        "lang", "language", "locale", "currency", "channel", "source", "store", "shop", "site", "warehouse", "payment",
                        "category", "genre", "brand", "color", "colour", "size", "segment", "group", "tier", "plan", "weekday", "month",
                        "season", "unit"))  # fmt: skip
ITEM_OF_TITLES = ("id", "key", "code")
"""What the column of item ids may also be called in a table of titles."""

# Places of the columns in a file without header: user, item, rating, time, as in MovieLens.
PLACES = {"user": 0, "item": 1, "rating": 2, "time": 3, "quantity": 2}

_ID_WORDS = frozenset(("id", "ids", "uuid", "guid", "key", "pk", "sk", "fk", "no", "nr", "num", "number", "code", "hash", "idx", "index",
                       "nummer", "numero"))  # fmt: skip
_CODES_OF_ITEMS = frozenset(("sku", "asin", "isbn", "ean", "upc", "gtin"))
_ENDINGS = {"time": frozenset(("at", "time", "date", "timestamp", "datetime", "ts", "dt")), "title": frozenset(("title", "name")),
            "rating": frozenset(("rating", "score", "stars")), "quantity": frozenset(("quantity", "qty"))}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


def plain(name: str) -> str:
    """Return a name without case and punctuation."""
    # Korean is written with whole syllables here, and in parts on some systems.
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).lower() if letter.isalnum())


def known(role: str, names: Sequence[str]) -> str | None:
    """Return the one of `names` that is a common name of the role, else the only one that ends as such names do; None without."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(plain(name), name)
    for common in KNOWN[role]:
        if common in first:
            return first[common]
    # created_at beside updated_at: which of them counts nobody can tell from here.
    ends = [name for name in names if ends_like(role, name)]
    return ends[0] if len(ends) == 1 else None


def is_common(name: str) -> bool:
    """Return whether a cell of a first row is a name of users or items, so that the row is a header."""
    word = plain(name)
    return bool(word) and (word in _COMMON or any(ends_like(role, name) for role in ("user", "item")))


def looks_like_id(name: str) -> bool:
    """Return whether a column is called as a column of ids is."""
    words = _words(name)
    return len(words) > 1 and words[-1] in _ID_WORDS


def is_no_event(name: str) -> bool:
    """Return whether a column of a few words is called as those are that do not say what happened, such as a country or a device."""
    words = _words(name)
    return any(word in _NO_EVENTS for word in words) or looks_like_id(name)


def both_swapped(user_column: str, item_column: str) -> bool:
    """Return whether the column that was given for users has a common name of items, and that for items one of users."""
    return known("item", [user_column]) is not None and known("user", [item_column]) is not None


def ends_like(role: str, name: str) -> bool:
    """Return whether a name ends as those of the role do, such as created_at, buyer_uuid and product_sku."""
    words = _words(name)
    if role in _ENDINGS:
        return len(words) > 1 and words[-1] in _ENDINGS[role]
    if role == "item" and len(words) > 1 and words[-1] in _CODES_OF_ITEMS:
        return True
    # buyer_user_id and user_uuid, not num_users or user_age: what the id is of stands last.
    if len(words) < 2 or words[-1] not in _ID_WORDS:
        return False
    while len(words) > 1 and words[-1] in _ID_WORDS:
        words = words[:-1]
    return words[-1] in _BASES[role]


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(unicodedata.normalize("NFKC", name))]


_COMMON = frozenset((*KNOWN["user"], *KNOWN["item"]))
_BASES = {
    role: frozenset(word for word in KNOWN[role] if not word.endswith("id")) | more
    for role, more in (("user", {"usr", "cust"}), ("item", {"prod", "articles"}))
}
