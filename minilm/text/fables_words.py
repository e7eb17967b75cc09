"""Lists the words of the fables: beasts, names, foods, trades, weathers. The order of a list is its frequency.

Regular forms are made by rule, irregular ones are written out (`goose|geese`, `creep|crept|creeping`). This
file knows words and their forms; what is said with them stands in fables_rules.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from minilm.text.grammar import Word, words

NOUNS = {
    "beast": """
        fox hare hedgehog badger wolf|wolves crow mouse|mice owl bear cat donkey goose|geese frog mole
        otter raven tortoise squirrel hen goat weasel magpie rat duck toad sparrow lamb pig dog rooster
        stoat heron beaver cricket snail rabbit marten lynx ferret robin swan turkey jackdaw newt vole
        shrew wren thrush finch pigeon bat moose|moose elk|elk deer|deer stag doe boar sow mule pony
        ox|oxen cow calf|calves bull ram ewe kid gander drake peacock pheasant partridge quail lark
        nightingale cuckoo woodpecker kingfisher swallow starling jay rook buzzard falcon hawk kestrel
        eagle vulture stork crane pelican gull puffin penguin walrus seal porpoise trout pike|pike
        carp|carp eel crab lobster beetle ant bee wasp hornet moth spider grasshopper ladybird earwig
        glow-worm caterpillar worm slug lizard gecko salamander viper python crocodile monkey lemur camel
        llama alpaca yak buffalo|buffaloes zebra giraffe elephant rhinoceros hippopotamus|hippopotami lion
        tiger leopard panther hyena jackal mongoose meerkat porcupine armadillo anteater sloth tapir
        wombat koala kangaroo platypus ostrich flamingo parrot toucan marmot dormouse|dormice hamster
        gerbil guinea-pig chinchilla polecat""",
    "thing": """
        lantern kettle fiddle umbrella ladder drum clock teapot bucket bell key flute hat spoon mirror
        candlestick wheelbarrow trumpet saucepan button basket rope saddle broom blanket telescope compass
        ring locket thimble needle ribbon comb pillow quilt mattress chair stool table bench cupboard
        wardrobe chest trunk suitcase satchel purse wallet pouch sack barrel jug jar bottle bowl plate cup
        mug goblet tankard fork knife|knives ladle skillet cauldron oven bellows|bellows anvil hammer
        chisel saw plane drill wrench spade shovel rake hoe sickle scythe|scythes plough harrow wagon cart
        sleigh sledge canoe raft rudder oar anchor sail mast barometer thermometer sundial
        hourglass|hourglasses calendar almanac globe atlas map dictionary cookbook diary ledger newspaper
        pamphlet letter envelope postcard stamp inkwell quill pencil crayon paintbrush|paintbrushes easel
        palette portrait statue bust vase urn flowerpot trellis birdbath scarecrow weathercock signpost
        doorknob doorbell keyhole padlock hinge latch|latches window-box shutter curtain carpet rug
        doormat hammock footstool bookshelf|bookshelves bassinet cradle rocking-horse doll kite
        spinning-top marble whistle bugle tambourine banjo mandolin accordion bagpipe harp harmonica cello
        clarinet oboe trombone tuba xylophone cymbal gong metronome music-box|music-boxes pennant flag
        banner medal trophy|trophies crown sceptre sword shield helmet gauntlet lance catapult cannon
        drawbridge handkerchief monocle pocket-watch|pocket-watches walking-stick snuffbox|snuffboxes
        pincushion bobbin spindle loom spinning-wheel sewing-box|sewing-boxes washboard mangle clothes-peg
        bathtub sponge toothbrush|toothbrushes hairpin nutcracker corkscrew rolling-pin sieve funnel
        colander grater mousetrap birdcage beehive dovecote fishing-rod fishhook crab-pot butterfly-net
        magnifying-glass|magnifying-glasses kaleidoscope abacus|abacuses puzzle chessboard domino
        dice-box|dice-boxes puppet tent lunchbox|lunchboxes water-wheel windmill pulley lever spring
        cogwheel piston gasket valve bolt bracket""",
    "food": """
        apple plum pie pear cherry cake turnip carrot nut onion bun cabbage berry potato|potatoes egg
        acorn pancake biscuit muffin dumpling sausage pumpkin radish|radishes bean pea leek parsnip
        beetroot marrow cucumber tomato|tomatoes pepper mushroom chestnut walnut hazelnut almond pistachio
        fig date grape raisin currant strawberry raspberry blackberry gooseberry cranberry blueberry
        elderberry mulberry apricot peach|peaches nectarine quince medlar damson greengage melon orange
        lemon lime tangerine grapefruit pineapple banana coconut mango|mangoes pomegranate olive artichoke
        aubergine courgette lettuce radicchio|radicchios sprout cauliflower pickle gherkin caper truffle
        herring kipper sardine anchovy|anchovies mackerel|mackerels oyster mussel cockle shrimp prawn chop
        cutlet meatball ham pasty pastry crumpet scone waffle doughnut bagel pretzel cracker wafer
        gingerbread-man|gingerbread-men macaroon meringue eclair tart tartlet flan trifle pudding
        custard-slice jelly lollipop toffee caramel peppermint humbug gumdrop marzipan-pig bonbon
        cheesecake fritter noodle pierogi|pierogis croquette omelette sandwich|sandwiches toastie
        loaf|loaves roll baguette bannock oatcake flapjack honeycomb sugarloaf|sugarloaves cinnamon-stick
        clove-bud""",
    "trade": """
        baker miller tailor cobbler carpenter fisherman|fishermen blacksmith shepherd postman|postmen
        judge teacher gardener barber butcher grocer weaver potter printer poet piper fiddler sailor
        ferryman|ferrymen lighthouse-keeper clockmaker locksmith goldsmith tinker tanner saddler cooper
        wheelwright shipwright thatcher mason plumber glazier chimney-sweep ratcatcher beekeeper brewer
        vintner innkeeper cook confectioner greengrocer fishmonger cheesemonger haberdasher milliner
        hatter glover seamstress|seamstresses laundress|laundresses dyer spinner ropemaker sailmaker
        candlemaker soapmaker basketmaker broommaker bookbinder librarian schoolmaster professor
        astronomer geographer historian philosopher alchemist apothecary|apothecaries physician surgeon
        dentist midwife|midwives nurse undertaker gravedigger bell-ringer organist choirmaster conductor
        juggler acrobat magician ventriloquist clown puppeteer actor playwright painter sculptor engraver
        architect surveyor engineer inventor mechanic watchman|watchmen constable sheriff magistrate
        lawyer notary|notaries clerk scribe accountant banker moneylender pawnbroker auctioneer merchant
        pedlar smuggler pirate admiral captain sergeant trumpeter drummer archer falconer gamekeeper
        forester woodcutter charcoal-burner quarryman|quarrymen ploughman|ploughmen haymaker goatherd
        swineherd milkmaid drover coachman|coachmen ostler jockey bricklayer roofer upholsterer tuner
        optician translator diplomat ambassador""",
    "place": """
        mill orchard bridge well market river meadow barn inn pond forest hill church|churches harbour
        lighthouse bakery crossroads|crossroads castle garden quarry swamp cave vineyard school library
        town-hall post-office smithy stable henhouse dovecot beach|beaches cliff dune island waterfall
        spring-head brook ford ferry canal lock weir dam lake lagoon marsh|marshes moor heath common
        pasture paddock hayfield cornfield wheatfield cabbage-patch|cabbage-patches hedge thicket grove
        copse glade clearing ravine gorge canyon valley mountain volcano|volcanoes glacier plateau ridge
        summit foothill tunnel mine colliery foundry brewery distillery dairy tannery sawmill shipyard
        dockyard jetty pier boathouse bathhouse laundry theatre museum gallery concert-hall bandstand
        fairground circus|circuses racecourse cricket-pitch|cricket-pitches bowling-green park fountain
        palace manor cottage farmhouse granary windmill-yard cowshed pigsty|pigsties kennel greenhouse
        tollgate gatehouse watchtower dungeon moat graveyard chapel abbey monastery convent cathedral
        belfry|belfries courthouse prison barracks|barracks bank pawnshop bookshop toyshop sweetshop
        tea-room coffee-house tavern bus-stop railway-station signal-box|signal-boxes viaduct aqueduct
        causeway towpath footpath alley square cul-de-sac|cul-de-sacs archway cellar attic
        observatory|observatories planetarium zoo aquarium menagerie maze rock-pool sandbank estuary
        peninsula""",
    "limb": """
        tail paw nose ear whisker eye tooth|teeth knee elbow foot|feet back belly head chin beak claw
        feather wing hoof|hooves horn snout shoulder toe ankle hip rib eyebrow cheek forehead tongue
        throat neck|necks heel shin thumb knuckle eyelid lip nostril""",
    "tree": """
        oak willow birch|birches elm ash-tree beech|beeches hazel chestnut-tree pine fir spruce
        larch|larches yew holly hawthorn blackthorn rowan alder aspen poplar sycamore maple linden
        walnut-tree apple-tree pear-tree cherry-tree plum-tree mulberry-tree fig-tree juniper
        cypress|cypresses cedar laurel lilac elder bramble gorse-bush|gorse-bushes rose-bush|rose-bushes
        rhododendron magnolia wisteria monkey-puzzle palm baobab eucalyptus|eucalyptuses""",
    "flower": """
        daisy rose tulip buttercup bluebell violet primrose poppy lily cowslip dandelion thistle nettle
        clover snowdrop crocus|crocuses daffodil hyacinth iris|irises foxglove marigold sunflower pansy
        carnation geranium begonia dahlia lupin peony chrysanthemum forget-me-not honeysuckle jasmine
        lavender-spike heather-sprig campion cornflower harebell hollyhock nasturtium orchid petunia
        snapdragon speedwell toadstool mushroom-cap fern""",
    "vessel": """
        basket sack barrel cart crate bag box|boxes bowl bucket jar wagon pot tin tray chest hatful jug
        pouch wheelbarrow plate drawer pocketful armful mouthful cupboard cellar bathtub shipload
        sledge-load trunk knapsack hamper casket cask churn tureen pillowcase bootful stocking saddlebag
        teacup""",
    "insult": """
        fool noodle rascal turnip rogue scoundrel blockhead goose rapscallion windbag
        chatterbox|chatterboxes thief|thieves nincompoop dunderhead scallywag knave villain cheat swindler
        ninny numbskull blunderer muddler dawdler slugabed layabout ragamuffin miser skinflint braggart
        coward sneak busybody|busybodies know-all fibber humbug mountebank charlatan impostor gasbag
        grumbler moaner bungler butterfingers|butterfingers crosspatch|crosspatches fusspot
        slyboots|slyboots spoilsport weathervane sponger glutton lickspittle guttersnipe
        ignoramus|ignoramuses jackanapes|jackanapes popinjay nitwit halfwit dullard clodhopper
        lummox|lummoxes oaf booby pest pickle""",
    "kin": """
        aunt uncle cousin grandmother grandfather mother father brother sister nephew niece godmother
        godfather step-uncle stepmother great-aunt great-uncle twin son daughter husband|husbands
        wife|wives neighbour landlord landlady pen-friend bridegroom bride partner lodger tutor guardian""",
}

NAMES = {
    "she": """
        Bella Martha Rosie Agnes Clara Hilda Mabel Dora Nell Greta Pippa Tilda Ida Olive Winifred Beatrix
        Matilda Ottilie Prudence Petunia Henrietta Wilhelmina Josephine Cordelia Philippa Georgina
        Arabella Clementine Rosalind Tabitha Euphemia Gwendolen Millicent Ernestine Hortensia Lavinia
        Drusilla Augusta Cecily Dorothea Edith Flora Gertrude Harriet Imogen Juniper Kitty Lottie Minna
        Nora Ophelia Penelope Queenie Ramona Sabina Thea Ursula Verity Wanda Xenia Yolanda Zelda Adelaide
        Bertha Charlotte Delphine Eleanor Fanny Gisela Hester Isolde Jemima Katrin Leonora Magda Nanette
        Odette Pamela Rebecca Susanna Theodora Una Violetta Wendeline Amaryllis Blanche Constance
        Desdemona Esmeralda Frederica Griselda Hyacinthe Iphigenia Jocasta Kunigunde Lucretia Marigold
        Nerissa Octavia Perpetua Rapunzel Seraphina Tryphena Undine Valeria Walburga Zenobia Annabel Biddy
        Cressida Dinah Elspeth Felicity Ginevra Hermione Ingrid Joan Kirsty Linnet Morag Nuala Orla Peggy
        Roberta Sidonie Trudi Ulrike Vesna Wilma Ysolde Zora Antonia Brunhilde Carlotta Daphne Etta
        Fenella Gloria Hannah Irma Judith Klara Ludmila""",
    "he": """
        Oswald Barnaby Hugo Albert Jasper Rupert Bruno Casper Felix Otto Tobias Gilbert Walter Percy
        Magnus Ferdinand Humphrey Leopold Bartholomew Cornelius Mortimer Archibald Reginald Benedict
        Sylvester Horatio Ignatius Thaddeus Montague Algernon Balthasar Crispin Dominic Ebenezer Fergus
        Godfrey Herbert Isidore Jeremiah Konrad Lancelot Maximilian Nathaniel Octavius Peregrine Quentin
        Roderick Sebastian Theobald Ulysses Valentine Wilfred Xaver Yorick Zachary Alfred Basil Clarence
        Desmond Edgar Frederick Gustav Hector Igor Julius Kaspar Ludwig Marcus Norbert Oliver Patrick
        Quincy Ralph Siegfried Timothy Ulrich Victor Winston Ambrose Boris Clement Dunstan Egbert Florian
        Gregor Hubert Ivo Jonathan Kilian Lorenzo Mungo Nicodemus Orlando Phineas Rollo Solomon Titus
        Urban Vitus Wenzel Zebedee Angus Bertram Cuthbert Diggory Erasmus Fabian Gideon Hamish Inigo
        Jolyon Kenneth Lionel Murdo Nigel Osbert Piers Quillon Rufus Silas Tarquin Umberto Vincent Waldo
        Alonzo Bernard Cedric Dexter Elmer Franz Gunther Harold Ivor Joachim Lambert Milo Ned Ossian
        Pascal Rowland Simeon Tristan Virgil Wolfgang Yannick Zeno""",
}

PRONOUNS = {
    "she": {
        "they": "she",
        "them": "her",
        "their": "her",
        "theirs": "hers",
        "self": "herself",
        "child": "daughter",
    },
    "he": {"they": "he", "them": "him", "their": "his", "theirs": "his", "self": "himself", "child": "son"},
}

VERBS = {
    "move": """
        trot|trotted|trotting hurry run|ran|running walk march wander climb creep|crept|creeping
        hop|hopped|hopping limp stroll gallop scurry shuffle tiptoe waddle trudge ramble scamper stumble
        strut|strutted|strutting dash scramble plod|plodded|plodding sneak|sneaked|sneaking
        skip|skipped|skipping amble saunter lumber bounce crawl slither slide|slid|sliding roll tumble
        totter stagger hobble prance canter bustle dart bolt flee|fled|fleeing swagger slouch
        slink|slunk|slinking traipse meander roam stride|strode|striding clamber flounder blunder lurch
        toddle jog|jogged|jogging wade paddle swim|swam|swimming drift float sail row ride|rode|riding
        cycle skate ski|skied|skiing glide swoop flutter fly|flew|flying soar dance waltz
        zigzag|zigzagged|zigzagging barge tramp hike journey""",
    "do": """
        laugh sing|sang|singing weep|wept|weeping sigh yawn sneeze whistle dance snore shiver tremble
        blush frown giggle cough hum|hummed|humming chuckle groan stretch nod|nodded|nodding wink
        shrug|shrugged|shrugging grin|grinned|grinning scowl pout blink faint hiccup gulp swallow snort
        grumble mumble whimper sob|sobbed|sobbing wail howl bow curtsy kneel|knelt|kneeling pray ponder
        daydream doze nap|napped|napping knit|knitted|knitting whittle juggle fidget squirm wriggle twitch
        flinch gasp pant wheeze sniff sniffle snigger smirk simper gloat sulk brood fret|fretted|fretting
        worry hesitate dither dawdle linger loiter rest wait listen eavesdrop|eavesdropped|eavesdropping
        stare gaze squint peer glare gape tut|tutted|tutting cluck preen swagger boast apologise curse
        complain protest object bargain haggle dig|dug|digging cook bake scrub|scrubbed|scrubbing
        sweep|swept|sweeping sew|sewed|sewing paint scribble doodle read|read|reading recite rehearse
        yodel drum|drummed|drumming strum|strummed|strumming tootle""",
    "treat": """
        polish mend paint carry hide|hid|hiding sell|sold|selling wash count weigh wrap|wrapped|wrapping
        drop|dropped|dropping admire guard hang|hung|hanging bury lift drag|dragged|dragging push kick
        shake|shook|shaking kiss scratch dust oil varnish decorate measure borrow inspect praise insult
        tickle rescue pawn auction rent label|labelled|labelling embroider feed|fed|feeding tie|tied|tying
        lock unlock open close turn bend|bent|bending break|broke|breaking crack dent scrape sharpen sand
        plane glue nail hammer rivet solder gild|gilded|gilding dye bleach iron fold pack unpack
        draw|drew|drawing sketch describe photograph sculpt christen baptise bless curse bewitch juggle
        balance spin|spun|spinning toss throw|threw|throwing catch|caught|catching juice pickle roast boil
        bite|bit|biting lick nibble chew taste smell sniff stroke pat|patted|patting hug|hugged|hugging
        squeeze cradle rock cover smother bandage improve repair ruin spoil neglect
        forget|forgot|forgetting misplace lose|lost|losing find|found|finding fetch steal|stole|stealing
        exchange swap|swapped|swapping lend|lent|lending donate bequeath test tune wind|wound|winding
        rattle ring|rang|ringing blow|blew|blowing beat|beat|beating float sink|sank|sinking launch anchor
        moor load unload stack park race harness saddle shoe|shod|shoeing""",
    "say": """
        say|said|saying mutter whisper shout reply|replied|replying murmur growl squeak declare announce
        cry|cried|crying grumble insist admit|admitted|admitting explain sigh snap|snapped|snapping
        stammer exclaim croak bellow hiss chirp bleat roar mumble whine chuckle purr bark coo|cooed|cooing
        quack cackle crow hoot snarl drawl splutter gasp sob|sobbed|sobbing boom warble trill gurgle lisp
        rasp wheeze squawk twitter chant intone""",
    "sound": """
        rattle creak sing|sang|singing whistle rustle hum|hummed|humming groan bang clatter tick chime
        rumble squeak drip|dripped|dripping gurgle sigh thud|thudded|thudding crackle jingle hiss murmur
        splash boom crash click patter clang tinkle whirr|whirred|whirring buzz moan roar
        flap|flapped|flapping snap|snapped|snapping plop|plopped|plopping fizz pop|popped|popping clink
        clank swish whoosh|whooshed|whooshing thump twang peal toll""",
}

PLAIN = {
    "trait": """
        old clever vain hungry lazy young proud honest greedy cheerful timid sleepy patient foolish
        thrifty brave grumpy polite stubborn curious lonely merry nervous boastful gentle crafty careless
        generous jealous solemn absent-minded stingy noisy shy pompous restless anxious wise gloomy busy
        dreamy fussy nosy modest mischievous plump skinny tiny enormous elderly respectable penniless
        wealthy famous unlucky lucky bald bearded freckled one-eyed short-sighted left-handed long-legged
        bow-legged flat-footed round-bellied sharp-tongued soft-hearted hard-working hot-tempered
        light-fingered good-natured quick-witted slow-witted tender-hearted thick-skinned tireless
        tiresome talkative silent secretive suspicious trusting gullible credulous sceptical stern severe
        strict lenient tolerant obstinate headstrong wilful obedient rebellious dutiful diligent idle
        indolent industrious energetic sluggish nimble clumsy graceful awkward elegant shabby scruffy tidy
        untidy dapper well-dressed barefoot muddy dusty soggy feverish hoarse deaf drowsy dizzy giddy
        frantic calm placid serene melancholy sorrowful tearful wistful homesick lovesick lovelorn
        romantic sentimental sensible practical learned ignorant well-read illiterate eloquent tongue-tied
        forgetful watchful vigilant wary reckless daring fearless fearful cowardly heroic gallant
        chivalrous courteous rude impudent impertinent insolent haughty arrogant conceited smug humble
        meek bashful flustered bewildered puzzled confused inquisitive meddlesome helpful obliging
        ungrateful grateful spiteful malicious wicked naughty saintly pious devout superstitious frugal
        extravagant lavish miserly covetous envious ambitious contented discontented disgruntled peevish
        petulant surly sullen cantankerous crotchety irritable touchy tetchy jovial jolly hearty
        hospitable sociable solitary unsociable aloof dignified stately majestic noble humdrum ordinary
        peculiar eccentric mysterious inscrutable shrewd cunning devious wily treacherous faithful loyal
        trustworthy unreliable punctual tardy prompt impatient impulsive cautious careful prudent musical
        tuneless unmarried widowed retired""",
    "look": """
        little old crooked shiny broken golden heavy wooden rusty dusty mossy new painted cracked handsome
        worn borrowed splendid round tiny enormous battered polished curious precious patched squeaky
        wobbly leaky hollow slender dented tarnished gleaming glittering sparkling spotless greasy sticky
        muddy damp mouldy musty fragrant scented ancient antique modern second-hand expensive cheap
        priceless worthless useless useful elegant ugly hideous dainty delicate sturdy flimsy massive
        bulky narrow pointed blunt jagged smooth rough bumpy lumpy lopsided upside-down folding portable
        enchanted haunted cursed lucky unlucky forgotten stolen inherited famous nameless peculiar
        extraordinary ordinary remarkable magnificent gorgeous beautiful plain simple ornate embroidered
        engraved enamelled varnished lacquered gilded striped spotted speckled chequered flowery fringed
        tasselled quilted padded knitted woven plaited carved hammered moulded riveted welded unfinished
        half-finished homemade foreign imported royal rustic seaworthy waterproof fireproof foolproof
        musical silent whistling humming ticking clockwork miniature gigantic colossal monstrous oblong
        square triangular octagonal cylindrical oval twisted bent warped splintered chipped scratched
        frayed tattered threadbare moth-eaten worm-eaten weather-beaten sun-bleached rain-soaked
        frostbitten smoke-blackened long-lost well-oiled much-loved hand-painted bell-shaped egg-shaped
        horse-drawn three-legged double-handled left-handed bottomless lidless wheelless prize-winning""",
    "colour": """
        red green blue yellow white black brown grey pink purple orange silver crimson scarlet turquoise
        violet golden amber ivory emerald russet copper-red lilac lavender mustard maroon indigo
        olive-green peach-coloured sky-blue snow-white coal-black chestnut-brown primrose-yellow rose-pink
        apple-green mouse-grey cherry-red mauve beige teal magenta saffron cinnamon sapphire ruby pearl
        ochre sepia azure vermilion bronze""",
    "stuff": """
        copper tin oak brass silver iron leather glass straw paper clay wool velvet stone silk wax marble
        pewter cork wicker bone cotton linen lace porcelain cardboard rubber felt bamboo ebony mahogany
        walnut-wood cherrywood driftwood steel lead zinc bronze gold china amber jade crystal granite
        slate sandstone flint coral mother-of-pearl seashell parchment canvas sackcloth flannel tweed
        corduroy satin taffeta muslin burlap feather horsehair rope-yarn gingerbread marzipan sugar
        chocolate ice snow moss bark""",
    "dish": """
        soup porridge honey bread jam cheese butter stew tea gravy custard broth mustard marmalade milk
        cream treacle cider lemonade oatmeal barley rice mash sauerkraut goulash chowder curry
        rhubarb-crumble plum-duff apple-sauce cocoa coffee ginger-beer buttermilk yoghurt whey vinegar
        mead punch syrup molasses marzipan fudge nougat gingerbread shortbread fruitcake trifle sherbet
        rosewater mint-sauce horseradish pea-soup onion-gravy fish-paste bacon tripe suet lard dripping
        hash haggis succotash polenta lentil-stew cabbage-soup beetroot-soup nettle-tea dandelion-wine
        elderflower-cordial plum-brandy""",
    "weather": """
        rainy foggy windy sunny frosty stormy snowy misty cold hot cloudy bright icy drizzly golden grey
        dark damp chilly blustery sultry breezy mild thundery hazy moonlit starry bitter crisp drowsy dewy
        murky gusty muggy sweltering scorching freezing slushy showery soggy dismal glorious radiant balmy
        pale leaden sparkling silent blue-skied rainbow-coloured pitch-black windless cloudless sleety
        hail-battered sun-drenched wintry springlike autumnal summery unpromising perfect dreadful
        tremendous ordinary""",
    "hour": """
        morning evening night afternoon dawn noon midnight sunset sunrise breakfast-time supper-time dusk
        tea-time twilight bedtime milking-time lunch-time daybreak nightfall cockcrow washing-day
        wedding-day""",
    "feast": """
        Christmas Easter Michaelmas Sunday Monday Tuesday Wednesday Thursday Friday Saturday Midsummer
        Candlemas Whitsun Shrovetide Lammas Martinmas Halloween Advent Epiphany harvest sheep-shearing
        apple-picking ploughing-time January February March April May June July August September October
        November December spring summer autumn winter""",
    "manner": """
        slowly quietly proudly politely bravely sadly cheerfully loudly gently carefully wisely crossly
        boldly nervously merrily grandly eagerly softly solemnly sweetly gravely kindly coldly warmly
        lazily hastily meekly stiffly drily sternly gladly gloomily sleepily grumpily hungrily greedily
        suspiciously innocently thoughtfully absent-mindedly airily angrily anxiously apologetically
        approvingly bashfully bitterly blankly blissfully briskly calmly carelessly cautiously cunningly
        curiously daintily dejectedly delicately desperately dismally doubtfully dreamily earnestly
        elegantly enviously evenly faintly faithfully fearfully fearlessly feebly fiercely fondly
        foolishly frankly frantically gallantly generously gleefully gracefully graciously gratefully
        grimly grudgingly haughtily heartily helplessly hesitantly hoarsely honestly hopefully humbly
        hurriedly impatiently indignantly jealously jovially joyfully knowingly lamely lightly longingly
        lovingly majestically menacingly mildly miserably modestly mournfully musically mysteriously
        naturally neatly nobly noisily obediently obligingly oddly patiently peacefully piously pitifully
        placidly playfully pleasantly pompously promptly prudently rashly reluctantly resolutely
        respectfully rudely ruefully sensibly serenely sharply sheepishly shyly silently skilfully slyly
        smoothly smugly soothingly sorrowfully stubbornly sulkily surprisingly tactfully tenderly
        tearfully timidly tirelessly triumphantly unhappily urgently vaguely vainly wearily wickedly
        wildly wistfully woefully zealously""",
    "feeling": """
        joy fear shame pride hope worry envy relief anger pity doubt love hunger sorrow surprise delight
        regret boredom curiosity courage dread gratitude guilt homesickness impatience jealousy laziness
        loneliness longing melancholy mischief panic remorse sleepiness sympathy tenderness terror wonder
        indignation embarrassment enthusiasm excitement exhaustion triumph bewilderment despair
        contentment confusion admiration ambition nostalgia disgust bliss gloom thirst suspicion
        resentment mirth stage-fright toothache hay-fever""",
    "virtue": """
        honesty patience kindness courage modesty loyalty thrift wisdom politeness diligence gratitude
        humility generosity mercy prudence punctuality faithfulness forgiveness gentleness moderation
        good-humour hard-work perseverance tact trust truthfulness charity chastity cheerfulness
        common-sense compassion consideration constancy dependability discretion endurance fairness
        foresight fortitude frankness friendship grace hospitality innocence integrity justice nobility
        obedience openness reliability resolve self-control selflessness simplicity sincerity sobriety
        steadiness tidiness tolerance valour vigilance""",
    "vice": """
        greed vanity pride laziness envy boasting flattery haste anger gossip stinginess dishonesty
        cowardice curiosity carelessness stubbornness ingratitude gluttony idleness treachery cunning
        deceit forgetfulness extravagance impatience jealousy malice mockery rudeness selfishness spite
        suspicion trickery ambition arrogance bad-temper betrayal bragging conceit covetousness cruelty
        daydreaming disobedience grumbling hypocrisy impudence indifference inconstancy insolence lying
        meanness meddling nagging pomposity procrastination recklessness revenge smugness snobbery
        thievery unpunctuality wastefulness whining""",
    "count": """
        two three four five six seven eight nine ten twelve twenty eleven thirteen forty fifteen fifty
        sixteen seventeen eighteen nineteen sixty thirty seventy eighty ninety fourteen several countless
        umpteen""",
    "rank": """
        Mayor Doctor Captain King Queen Bishop Baron Duchess Judge Colonel Professor Princess Duke
        Countess Sir Lady Abbot Admiral Alderman Chancellor Emperor General Marquis Sergeant Squire Sultan
        Vicar Widow Prior Inspector Senator Commodore Archduke""",
    "cry": """
        Alas Fiddlesticks Nonsense Goodness Bother Hurrah Mercy Heavens Balderdash Help Botheration Bravo
        Gracious Hush Humbug Oho Oh_dear Aha Amazing Applesauce Begone Behold Blast Blimey By_my_beard
        By_my_whiskers Codswallop Confound_it Crumbs Drat Encore Enough Eureka Fancy_that Fie Flapdoodle
        For_shame Gadzooks Good_grief Great_acorns Ha Hallelujah Halt Ho_hum Hold_hard Horsefeathers
        Jiminy My_stars Never Ouch Pardon_me Phew Piffle Poppycock Pshaw Rats Rubbish Shame Snails_alive
        Stuff Thunderation Tush Twaddle Ugh Upon_my_soul Well_well What_a_pity Whoa Woe_is_me Yippee
        Zounds""",
    "stem": """
        Thistle Puddle Wimble Bramble Apple Mud Goose Honey Nettle Crumble Toad Dapple Maple Pepper Hazel
        Fiddle Button Mickle Pottle Under Upper Nether Over Little Great Stony Windy Rainy Sunny Frosty
        Sleepy Turnip Radish Mustard Pickle Dumpling Gander Heron Otter Badger Cuckoo Magpie Sparrow Rook
        Swan Owl Bee Hedge Willow Alder Elder Rowan Aspen Clover Barley Wheat Rye Oat Bean Plum Cherry
        Quince Moss Fern Heather Gorse Chalk Flint Slate Clay Sand Marsh Fen Moor Heath Ash Birch Elm
        Copper Tin Silver Iron Kettle Ladle Spindle Thimble Bobbin Bell Candle Lantern Market Bishop Abbot
        Monk King Queen Baron Widow Tinker Cobbler Wobble Tumble Grumble Mumble Snuffle Whistle Twiddle
        Dawdle Muddle""",
    "tail": """
        ton combe wick ford bury ham ley field stead bridge worth dale thorpe by mouth shaw hurst well
        moor wood side brook mere pool ness den cote minster market gate bottom bank croft garth holme
        royd sett""",
}


def noun(entry: str) -> str:
    """A noun with its plural.

    >>> [noun(word) for word in ("fox", "berry", "goose|geese", "day")]
    ['fox|foxes', 'berry|berries', 'goose|geese', 'day|days']
    """
    if "|" in entry:
        return entry
    if entry.endswith("y") and entry[-2] not in "aeiou":
        return f"{entry}|{entry[:-1]}ies"
    return f"{entry}|{entry}{'es' if entry.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def verb(entry: str) -> str:
    """A verb with its past and its -ing form.

    >>> [verb(word) for word in ("bake", "hurry", "run|ran|running", "sniff")]
    ['bake|baked|baking', 'hurry|hurried|hurrying', 'run|ran|running', 'sniff|sniffed|sniffing']
    """
    if "|" in entry:
        return entry
    if entry.endswith("e"):
        return f"{entry}|{entry}d|{entry if entry.endswith('oe') else entry[:-1]}ing"
    past = f"{entry[:-1]}ied" if entry.endswith("y") and entry[-2] not in "aeiou" else f"{entry}ed"
    return f"{entry}|{past}|{entry}ing"


def pools() -> dict[str, Sequence[Word]]:
    """Every list of words with all its forms, by name."""
    found: dict[str, Sequence[Word]] = {name: words(text) for name, text in PLAIN.items()}
    found |= {name: words(" ".join(map(noun, text.split())), "many") for name, text in NOUNS.items()}
    found |= {name: words(" ".join(map(verb, text.split())), "past", "ing") for name, text in VERBS.items()}
    found["name"] = _names()
    return found


def _names() -> list[Word]:
    """She and he in turn, each name with its pronouns."""
    lists = [[{**name, **PRONOUNS[pronoun]} for name in words(NAMES[pronoun])] for pronoun in NAMES]
    return [name for pair in zip(*lists, strict=False) for name in pair]
