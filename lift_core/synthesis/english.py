"""English word lists of the gate: grammar, inflection, words of asking, time and quantity."""

from __future__ import annotations


def word_set(listed: str) -> frozenset[str]:
    """The words of a list that is written with blanks between them."""
    return frozenset(listed.split())


STOP_WORDS = word_set("""
    a about after again all also always am an and any are as at be because been before being between
    both but by can could did do does doing done down during each either else ever every few for from
    further had has have having he her here hers him his how i if in into is it its itself just like
    made make makes many may me might more most much must my no nor not of off often on once only or
    other our out over own per same shall she should since so some such than that the their theirs them
    themselves then there these they this those though through thus to too toward towards under until up
    upon us very was we were what whatever when where whether which while who whom whose why will with
    within without would yes yet you your
    """)
"""Words that carry grammar and no fact."""

ASKING_WORDS = word_set("""
    according age amount another begin call cause city color colour come consider country date day
    describe effect example explain factor far feel first following function get give go group happen
    important include kind know lead likely long main mean method month name need number occur part
    people percentage person place play process purpose range reason refer result role say something
    sort stand start state take tell term thing time title type typical use used usually way word work
    year
    """)
"""Words that questions are made of, whatever they ask about."""

MONTHS = word_set("april august december february january july june march may november october september")

TIME_WORDS = MONTHS | word_set("""
    after afternoon age ages ago always annually as at autumn before beginning birth century childhood
    christmas currently daily dawn day days death decade decades during dusk early easter end era
    evening every fall first friday hour hours immediately last late later midnight moment monday month
    monthly months morning never next night noon now once period present recently saturday season since
    soon spring start summer sunday then thursday time times today tomorrow tuesday until upon war
    wednesday week weekly weeks when whenever while winter year yearly years yesterday youth
    """)
"""Words of an answer to "when"."""

QUANTITY_WORDS = word_set("""
    a all an both couple dozen dozens each every few half hundreds majority many millions most no nobody
    none nothing once one only pair percent quarter several single some third thousands twice zero
    """)
"""Words of an answer to "how many" that are no numbers."""

_FORMS = """
    arise:arose,arisen bear:bore,born,borne become:became begin:began,begun bend:bent bind:bound
    bite:bit,bitten bleed:bled blow:blew,blown break:broke,broken breed:bred bring:brought build:built
    buy:bought catch:caught child:children choose:chose,chosen cling:clung come:came creep:crept
    deal:dealt dig:dug draw:drew,drawn drink:drank,drunk drive:drove,driven eat:ate,eaten
    fall:fell,fallen feed:fed feel:felt fight:fought flee:fled fling:flung fly:flew,flown foot:feet
    forget:forgot,forgotten freeze:froze,frozen give:gave,given go:went,gone grow:grew,grown hang:hung
    hear:heard hide:hid,hidden hold:held keep:kept kneel:knelt know:knew,known lay:laid lead:led
    leave:left lend:lent life:lives lose:lost man:men mean:meant meet:met mouse:mice pay:paid
    ride:rode,ridden ring:rang,rung rise:rose,risen run:ran say:said see:saw,seen seek:sought sell:sold
    send:sent shake:shook,shaken shine:shone shoot:shot show:shown sing:sang,sung sink:sank,sunk sit:sat
    sleep:slept speak:spoke,spoken spend:spent spin:spun spring:sprang,sprung stand:stood
    steal:stole,stolen stick:stuck strike:struck,stricken swear:swore,sworn sweep:swept swim:swam,swum
    take:took,taken teach:taught tear:tore,torn tell:told think:thought throw:threw,thrown tooth:teeth
    understand:understood wake:woke,woken wear:wore,worn weep:wept wife:wives win:won withdraw:withdrew
    woman:women write:wrote,written
    """

IRREGULAR = {
    form: base
    for base, _, forms in (entry.partition(":") for entry in _FORMS.split())
    for form in forms.split(",")
}
"""Irregular forms of verbs and nouns with what they are forms of: "built" with "build"."""
