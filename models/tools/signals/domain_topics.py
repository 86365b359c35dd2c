"""Subjects of the fourteen domains in a few words each, written for this project.

They stand beside the exam questions of the data sets, which are long and say little of how people
ask: a topic becomes a question of one line by way of `TEMPLATES`.
"""

ENGLISH = {
    "biology": """photosynthesis; mitosis and meiosis; DNA replication; natural selection; the structure of a cell;
mitochondria; osmosis across a membrane; enzymes; genetic inheritance; dominant and recessive alleles; the food chain;
ecosystems and biodiversity; chromosomes; protein synthesis; ribosomes; cellular respiration; the theory of evolution;
bacteria and viruses; plant roots and leaves; pollination; the human genome; gene expression; RNA transcription; CRISPR
gene editing; stem cells; symbiosis between species; predator and prey populations; taxonomy of animals; fungi and moss;
amphibians and reptiles; mammals; insects and their life cycle; fish gills; the nervous system of animals; hormones in
plants; chlorophyll; ATP production; a mutation in a gene; speciation; fossils of early hominids; the Krebs cycle;
homeostasis in organisms; neurons and synapses; embryonic development; keystone species; migration of birds; coral reefs;
microbiology; cell division; Mendel's peas; phenotype and genotype; adaptation of desert plants; why leaves are green;
how bees make honey; how animals hibernate; the anatomy of a frog; nitrogen fixation by bacteria; invasive species;
parasites and hosts; population genetics; plant cells and animal cells; lipids and carbohydrates in cells; the biosphere;
marine biology; how spiders spin webs; how plants convert sunlight into energy; blood types and heredity; ecology of a
forest; the endoplasmic reticulum; antibodies and antigens; genetic drift; sexual and asexual reproduction""",
    "business": """a marketing strategy; a business plan for a startup; supply chain management; a SWOT analysis; customer
retention; brand positioning; human resources management; employee onboarding; a sales funnel; the break-even point;
project management; corporate governance; mergers and acquisitions; return on investment; an income statement; a balance
sheet; cash flow forecasting; accounting principles; auditing; a company's mission statement; entrepreneurship; venture
capital funding; pricing a product; market segmentation; the marketing mix; business ethics; leadership styles; team
performance reviews; key performance indicators; a quarterly revenue report; operations management; lean manufacturing;
inventory turnover; franchising; negotiation with suppliers; customer acquisition cost; a pitch deck for investors;
e-commerce; B2B sales; stakeholder management; organizational culture; outsourcing; product-market fit; depreciation of
assets; accounts receivable; a go-to-market plan; net present value of an investment; bookkeeping; change management;
corporate social responsibility; a competitive advantage; consumer behavior; advertising campaigns; a subscription
business model; working capital; capital budgeting; total quality management; retail management; working with
distributors; churn rate; a quarterly roadmap for product managers; hiring salespeople; a profit and loss statement""",
    "chemistry": """covalent and ionic bonds; the periodic table; acids and bases; the pH scale; balancing a chemical
equation; oxidation and reduction; catalysts; molar mass; stoichiometry; chemical equilibrium; Le Chatelier's principle;
organic compounds; alkanes and alkenes; polymers; electronegativity; titration; the mole and Avogadro's number; isotopes;
electron configuration; exothermic reactions; enthalpy of a reaction; reaction kinetics; solubility of salts; noble gases;
halogens; transition metals; electrolysis of water; buffer solutions; rusting of iron; the structure of benzene;
functional groups; esters and alcohols; hydrocarbons; distillation and chromatography; crystallization; NMR spectroscopy;
colloids; valence electrons; hybridization of orbitals; Gibbs free energy; rate law of a reaction; molarity and molality;
combustion of methane; sodium chloride; sulfuric acid; ammonia synthesis; redox reactions; a galvanic cell; stereoisomers;
nucleophilic substitution; molecular geometry; intermolecular forces; hydrogen bonding; precipitation reactions; the ideal
gas law in chemistry; oxidizing agents; why soap removes grease; how batteries store chemical energy; atomic radius;
carbonates; aldehydes and ketones; activation energy; Lewis structures; limiting reagent; empirical formula""",
    "computer science": """a Python function; a binary search tree; sorting algorithms; big O notation; recursion; a REST API;
a SQL query; object-oriented programming; machine learning; neural networks; a compiler; operating system scheduling; a
deadlock between threads; TCP and UDP; how the internet works; DNS resolution; hash tables; linked lists; dynamic
programming; graph traversal; database normalization; an index in PostgreSQL; Docker containers; Kubernetes deployment; Git
merge conflicts; a JavaScript closure; async and await; React components; CSS layout; regular expressions; unit tests; a
segmentation fault in C; pointers and memory leaks; garbage collection; cache invalidation; distributed systems; the CAP
theorem; microservices; load balancing; encryption and public keys; a hash function; blockchain technology; cloud computing;
virtual memory; a Turing machine; NP-completeness; a stack and a queue; debugging a program; a null pointer exception in
Java; a Rust lifetime; a Bash script; a web server in Go; version control; continuous integration; natural language
processing; transformers and attention; gradient descent; overfitting; computer vision; a database transaction; a message
queue; JSON parsing; an HTTP status code; OAuth login; SQL injection protection; finite automata; compression algorithms; a
type error in TypeScript; refactoring code; design patterns; an API rate limiter; Linux permissions; parallel computing; a
CPU pipeline; binary and hexadecimal numbers; a web scraper; pandas data frames; software architecture; code review; an
algorithm to find the shortest path; a bug in my code; a stack trace; reversing a string; a memory allocator""",
    "economics": """supply and demand; inflation; gross domestic product; monetary policy; fiscal policy; unemployment rates;
opportunity cost; price elasticity; market equilibrium; monopoly and oligopoly; comparative advantage; international trade;
tariffs; exchange rates; interest rates and central banks; quantitative easing; the Phillips curve; consumer surplus;
externalities; public goods; game theory in markets; the business cycle; recession; aggregate demand; Keynesian economics;
the money supply; deadweight loss; marginal utility; marginal cost; perfect competition; income inequality; the Gini
coefficient; taxation and welfare; minimum wage; labor markets; moral hazard; market failure; the Laffer curve; economies of
scale; balance of payments; government debt; stagflation; econometrics; heteroskedasticity in a regression; time series of
prices; the gold standard; price ceilings; rent control; the multiplier effect; economic growth models; purchasing power
parity; behavioral economics; adverse selection; free trade agreements; subsidies; hyperinflation; consumer price index; the
federal reserve; indifference curves; the labour supply curve; macroeconomic policy; scarcity; capital flows""",
    "engineering": """stress and strain in a beam; a bridge design; a heat exchanger; thermodynamic efficiency of an engine; a
gear ratio; fluid flow in a pipe; the Reynolds number of a flow; a control system with feedback; a PID controller; a
transistor amplifier; a voltage divider; an electric motor; three-phase power; a transformer; signal processing; a low-pass
filter; a truss under load; reinforced concrete; welding; tolerance in machining; CAD modelling; a hydraulic pump; a
turbine blade; refrigeration cycles; HVAC sizing; a microcontroller circuit; a printed circuit board; soil mechanics;
foundations of buildings; material fatigue; tensile strength of steel; a suspension bridge; an internal combustion engine;
aerodynamics of a wing; robotics actuators; a transmission line impedance; an antenna; modulation of a carrier; a
rectifier; a capacitor bank; a relay; an operational amplifier; sensors and calibration; a boiler; a compressor; a pressure
vessel; structural analysis; earthquake resistant buildings; civil engineering of dams; chemical plant design; a
distillation column size; renewable energy systems; solar panel wiring; a wind turbine; aerospace propulsion; a drainage
system; mechanical vibrations; induction motors; root locus and Bode plots; manufacturing processes; 3D printing parts;
radiative heat transfer in a furnace; power grid stability; bearings and shafts""",
    "health": """symptoms of diabetes; high blood pressure; a healthy diet; vitamin D deficiency; side effects of ibuprofen;
the flu vaccine; how antibiotics work; a heart attack; stroke symptoms; asthma; cholesterol levels; weight loss; pregnancy
nutrition; insomnia; migraine treatment; back pain; allergies; COVID-19; cancer screening; chemotherapy; a sprained ankle;
first aid for burns; dental hygiene; skin rashes; kidney disease; liver function tests; arthritis; osteoporosis; mental
health treatment; dosage of paracetamol; fever in children; high cholesterol medication; blood sugar; anemia and iron;
thyroid problems; stomach ulcers; food poisoning; dehydration; sexually transmitted infections; HIV; hepatitis; tuberculosis;
public health measures; exercise for seniors; physical therapy; surgery recovery; an MRI scan; blood test results; nursing
care; drug interactions; chronic fatigue; eating fiber; protein intake; intermittent fasting; smoking cessation; alcohol and
the liver; sore throat; a persistent cough; chest pain; vaccination schedules for babies; menopause; prostate exams;
hypertension; pneumonia; epidemiology of a disease; epilepsy; patient discharge instructions; a doctor's diagnosis;
clinical trials; wound care; hearing loss; eye strain; the immune system fighting an infection; gut health""",
    "history": """the French Revolution; World War II; World War I; the Roman Empire; ancient Egypt; the Cold War; the
Renaissance; the industrial revolution; the American Civil War; the fall of Constantinople; Napoleon Bonaparte; the Ottoman
Empire; the Silk Road; feudal society; the Magna Carta; the Black Death; the Crusades; the Ming dynasty; the Mongol
conquests; colonialism in Africa; the slave trade; the Great Depression era; the Russian Revolution; the Berlin Wall; the
Vietnam War; the civil rights movement; ancient Greece and Athens; Alexander the Great; the Vikings; the Aztecs and the
Incas; the Treaty of Versailles; the Declaration of Independence; the Reformation; the Spanish Armada; the Holocaust; the
Meiji Restoration; Gandhi and Indian independence; the Byzantine Empire; the printing press and society; the Age of
Exploration; Columbus; Mesopotamia; the Neolithic revolution; early human settlements; the Hundred Years' War; Queen
Elizabeth I; Abraham Lincoln; Julius Caesar; Cleopatra; the Boston Tea Party; the Cuban missile crisis; decolonization;
the Weimar Republic; the Congress of Vienna; the Louisiana Purchase; the Opium Wars; prehistoric tools; archaeology of Troy;
the Persian Wars; the suffragettes; Prohibition; the New Deal; medieval knights; the Enlightenment era; the Qing dynasty;
apartheid in South Africa; the Partition of India; the gold rush; the first moon landing in 1969""",
    "law": """a breach of contract; tort law; negligence; intellectual property rights; copyright infringement; a patent
application; a non-disclosure agreement; landlord and tenant law; an eviction notice; criminal law; a plea bargain; habeas
corpus; the Fifth Amendment; constitutional law; judicial review; due process; the burden of proof; hearsay evidence; a
subpoena; small claims court; divorce proceedings; child custody; a last will and testament; probate; employment contracts;
wrongful termination; GDPR compliance; data protection law; liability clauses; an indemnification clause; force majeure;
antitrust regulation; securities law; bankruptcy filing; immigration visas; defamation and libel; a trademark; a power of
attorney; corporate law; statute of limitations; jurisdiction of a court; a lawsuit; arbitration; consumer protection law; a
plaintiff and a defendant; a search warrant; Miranda rights; sentencing; assault and battery; murder and manslaughter;
property easements; a mortgage foreclosure; a lease agreement; international law; human rights treaties; administrative
regulations; whether a contract is enforceable; trade secrets; an appeal to the Supreme Court; precedent and common law;
consideration in contract law; tax evasion penalties; legal risk in a vendor agreement; warranty disclaimers; terms of
service; regulatory compliance; fiduciary duty; freedom of speech cases; the legal rights of employees""",
    "math": """a quadratic equation; the derivative of a function; an integral; matrix multiplication; eigenvalues; the
Pythagorean theorem; prime numbers; probability of rolling two dice; the standard deviation; a linear equation; fractions;
percentages; a geometric series; the limit of a sequence; trigonometric identities; logarithms; complex numbers; a proof by
induction; set theory; combinatorics and permutations; differential equations; the area of a circle; the volume of a sphere;
vectors and dot products; graph of a parabola; Bayes' theorem; the binomial theorem; group theory; modular arithmetic; the
greatest common divisor; polynomial factorization; the Fibonacci sequence; Taylor series; linear algebra; a system of
equations; number theory; convergence of a series; topology; a normal distribution; expected value; the median and the mean;
confidence intervals; hypothesis testing with a t-test; calculus; multivariable functions; partial derivatives; the
fundamental theorem of algebra; an arithmetic progression; solving for x; 15% of 240; 2 + 2; 17 times 23; the square root
of 144; a triangle's angles; irrational numbers such as pi; Euler's formula; the determinant of a matrix; infinite sets;
inequalities; the chain rule; the Riemann hypothesis; word problems about trains; the slope of a line; factorials; simple
interest arithmetic; a ring homomorphism; conditional probability; a convex polygon; how many ways to choose a committee""",
    "other": """the best restaurants nearby; the weather tomorrow; a recipe for pasta; a birthday message; football scores; the
plot of a movie; celebrity news; a travel itinerary for Paris; song lyrics; a video game; a dog's name; a joke; a poem about
autumn; a greeting card; hello, how are you; thank you very much; what you can do; your name; setting an alarm; a shopping
list; today's news; the tallest building; sports trivia; a TV show; how to tie a tie; cleaning a carpet; gardening tips; a
gift for my mother; booking a flight; a hotel in Rome; baking bread; a coffee machine; chess openings; a crossword clue;
horoscopes; fashion trends; interior decoration; learning the guitar; a short story; a cover letter; a translation of a
sentence; the capital of France; geography of South America; famous paintings; the Olympic Games; a wedding speech; pets and
cats; my car's tires; a bicycle repair; a camera lens; directions to the airport; a meeting reminder; an email to a friend;
summarizing an article; grammar of a sentence; a book recommendation; music genres; the Oscars; a smartphone review; trivia
night questions; a board game; knitting; a family reunion; a haiku; riddles; folklore; movie directors; world records; the
time in Tokyo; a playlist; board and lodging; parking rules; a karaoke song""",
    "philosophy": """free will and determinism; the meaning of life; utilitarianism; Kant's categorical imperative; virtue
ethics; existentialism; Plato's theory of forms; Aristotle's ethics; Descartes and doubt; the mind-body problem;
consciousness; the trolley problem; moral relativism; nihilism; Nietzsche's overman; Stoicism; epistemology; what knowledge
is; the problem of evil; the existence of God; social contract theory; Rawls' veil of ignorance; John Locke on property;
Hume on induction; logical fallacies; an ad hominem argument; propositional logic; the ship of Theseus; personal identity;
metaphysics; ontology; phenomenology; Heidegger; Sartre on freedom; Camus and the absurd; Socrates' method; Confucian ethics;
Buddhist philosophy; the ethics of artificial intelligence; animal rights ethics; euthanasia as a moral question; the nature
of truth; realism and idealism; skepticism; empiricism and rationalism; philosophy of science; philosophy of language;
Wittgenstein; justice and fairness; the good life; moral responsibility; deontology; pragmatism; aesthetics and beauty; the
fallacy of the undistributed middle; dualism; the paradox of tolerance; divine command theory; hedonism; whether morality is
objective; solipsism; arguments and their soundness; modal logic; Hobbes and the state of nature""",
    "physics": """Newton's laws of motion; gravity; the speed of light; special relativity; general relativity; quantum
entanglement; the uncertainty principle; black holes; kinetic and potential energy; momentum; friction; electric fields;
magnetism; electromagnetic waves; Ohm's law; a circuit with two resistors; the photoelectric effect; wave-particle duality;
nuclear fission; nuclear fusion; radioactive decay; the Big Bang; dark matter; entropy; the laws of thermodynamics; heat
transfer; temperature and pressure of a gas; sound waves; the Doppler effect; refraction of light; lenses and mirrors;
diffraction; interference of light; a pendulum; a spring and its oscillation; projectile motion; torque; angular momentum;
buoyancy; fluid pressure; the electron's charge; the Higgs boson; quarks and leptons; string theory; superconductivity;
lasers; semiconductors in physics; the Schrödinger equation; time dilation; escape velocity; orbits of planets; Kepler's
laws; tides and the moon; stars and supernovas; the sun's energy; galaxies; why the sky is blue; the Stern-Gerlach
experiment; a falling ball's acceleration; centripetal force; capacitance; Maxwell's equations; photons; X-rays; work and
power in physics; the standard model; cosmic microwave background; an inclined plane; conservation of energy; astronomy""",
    "psychology": """cognitive behavioral therapy; classical conditioning; Pavlov's dogs; operant conditioning; Freud's
psychoanalysis; Maslow's hierarchy of needs; attachment theory; cognitive dissonance; the bystander effect; short-term
memory; depression and its causes; anxiety disorders; personality types; the Big Five traits; child development; Piaget's
stages; Erikson's stages; motivation; emotional intelligence; stress and coping; schizophrenia; bipolar disorder; phobias;
groupthink; conformity; the Milgram experiment; the Stanford prison experiment; confirmation bias; cognitive biases;
procrastination; self-esteem; narcissism; empathy; learned helplessness; sleep and dreams in the mind; perception and
illusions; attention deficits; ADHD; autism spectrum; addiction and behavior; PTSD; burnout; mindfulness; habit formation;
social influence; stereotypes and prejudice; intelligence tests; psychometrics; reliability and validity of a test;
counseling techniques; family therapy; grief; jealousy in relationships; why people lie; body language; decision making
under stress; the placebo effect on the mind; behaviorism; humanistic psychology; moral development by Kohlberg; memory
recall and forgetting; altruism; peer pressure in adolescents; defense mechanisms; imposter syndrome; the halo effect""",
}

TEMPLATES = [
    "What is {x}?", "Explain {x}.", "Can you explain {x} to me?", "Tell me about {x}", "I have a question about {x}.",
    "How does {x} work?", "Give me an overview of {x}.", "What should I know about {x}?", "Help me understand {x}",
    "What are the main ideas behind {x}?", "Describe {x} in simple terms.", "Why does {x} matter?", "{x}", "{x}?",
    "Could you walk me through {x}?", "What is the difference between {x} and {y}?", "Compare {x} with {y}.",
    "How do {x} and {y} relate?", "I need help with {x}.", "Write a short essay on {x}.", "Discuss {x}.",
    "What are common mistakes with {x}?", "Give an example of {x}.", "What are the key features of {x}?",
    "Give me practical advice on {x}.", "I am preparing for an exam on {x}.", "My boss asked me about {x}, what do I say?",
    "Design a plan for {x} at a large company.", "What are the risks of {x}? Cite sources.", "Compare options for {x}.",
    "Walk me through {x} step by step, with an example from practice.", "Is it true what they say about {x}?",
    "How did people come to understand {x}?", "Summarize {x} for a beginner.", "What effects does {x} have?",
]

# language: (templates, {domain: terms})
FOREIGN = {
    "es": (["¿Qué es {x}?", "Explica {x}.", "¿Cómo funciona {x}?", "Háblame de {x}", "Necesito ayuda con {x}."], {
        "biology": "la fotosíntesis; la célula; el ADN; la evolución de las especies; los ecosistemas; las bacterias",
        "business": "el plan de negocios; la estrategia de marketing; las ventas; la contabilidad; los recursos humanos",
        "chemistry": "la tabla periódica; los ácidos y las bases; los enlaces químicos; la reacción química; las moléculas",
        "computer science": "una función en Python; una base de datos; un algoritmo; la programación; un error en mi código",
        "economics": "la inflación; la oferta y la demanda; el producto interno bruto; la política monetaria; el desempleo",
        "engineering": "un puente colgante; un circuito eléctrico; un motor eléctrico; el hormigón armado; la resistencia de materiales",
        "health": "la diabetes; la presión arterial alta; los síntomas de la gripe; una dieta sana; el dolor de espalda; la vacuna",
        "history": "la Revolución francesa; la Segunda Guerra Mundial; el Imperio romano; la Edad Media; la independencia de México",
        "law": "el incumplimiento de contrato; el derecho penal; los derechos de autor; el contrato de alquiler; una demanda",
        "math": "una ecuación de segundo grado; la derivada; la integral; la probabilidad; el teorema de Pitágoras; una matriz",
        "other": "una receta de paella; el tiempo mañana; un chiste; un viaje a Roma; hola, ¿qué tal?; un poema",
        "philosophy": "el libre albedrío; el utilitarismo; la ética de Kant; el existencialismo; el sentido de la vida",
        "physics": "la gravedad; la velocidad de la luz; la relatividad; la energía cinética; los agujeros negros",
        "psychology": "la terapia cognitiva; la ansiedad; la memoria; la personalidad; el condicionamiento clásico"}),
    "fr": (["Qu'est-ce que {x} ?", "Explique {x}.", "Comment fonctionne {x} ?", "Parle-moi de {x}", "J'ai une question sur {x}."], {
        "biology": "la photosynthèse; la cellule; l'ADN; l'évolution des espèces; les écosystèmes; les bactéries",
        "business": "le plan d'affaires; la stratégie marketing; les ventes; la comptabilité; les ressources humaines",
        "chemistry": "le tableau périodique; les acides et les bases; la liaison chimique; la réaction chimique; les molécules",
        "computer science": "une fonction Python; une base de données; un algorithme; la programmation; un bug dans mon code",
        "economics": "l'inflation; l'offre et la demande; le produit intérieur brut; la politique monétaire; le chômage",
        "engineering": "un pont suspendu; un circuit électrique; un moteur électrique; le béton armé; la résistance des matériaux",
        "health": "le diabète; l'hypertension; les symptômes de la grippe; une alimentation saine; le mal de dos; le vaccin",
        "history": "la Révolution française; la Seconde Guerre mondiale; l'Empire romain; le Moyen Âge; Napoléon",
        "law": "la rupture de contrat; le droit pénal; le droit d'auteur; le bail de location; un procès",
        "math": "une équation du second degré; la dérivée; l'intégrale; la probabilité; le théorème de Pythagore; une matrice",
        "other": "une recette de crêpes; la météo de demain; une blague; un voyage à Rome; bonjour, ça va ?; un poème",
        "philosophy": "le libre arbitre; l'utilitarisme; la morale de Kant; l'existentialisme; le sens de la vie",
        "physics": "la gravité; la vitesse de la lumière; la relativité; l'énergie cinétique; les trous noirs",
        "psychology": "la thérapie cognitive; l'anxiété; la mémoire; la personnalité; le conditionnement classique"}),
    "de": (["Was ist {x}?", "Erkläre {x}.", "Wie funktioniert {x}?", "Erzähl mir etwas über {x}", "Ich habe eine Frage zu: {x}"], {
        "biology": "Photosynthese; die Zelle; DNA; die Evolution der Arten; Ökosysteme; Bakterien; Zellteilung",
        "business": "der Geschäftsplan; eine Marketingstrategie; der Vertrieb; die Buchhaltung; Personalwesen; die Bilanz",
        "chemistry": "das Periodensystem; Säuren und Basen; die chemische Bindung; eine chemische Reaktion; Moleküle",
        "computer science": "eine Python-Funktion; eine Datenbank; ein Algorithmus; Programmierung; ein Fehler im Code",
        "economics": "die Inflation; Angebot und Nachfrage; das Bruttoinlandsprodukt; die Geldpolitik; Arbeitslosigkeit",
        "engineering": "eine Hängebrücke; ein Stromkreis; ein Elektromotor; Stahlbeton; die Festigkeit von Werkstoffen",
        "health": "Diabetes; Bluthochdruck; Symptome der Grippe; gesunde Ernährung; Rückenschmerzen; die Impfung",
        "history": "die Französische Revolution; der Zweite Weltkrieg; das Römische Reich; das Mittelalter; Bismarck",
        "law": "der Vertragsbruch; das Strafrecht; das Urheberrecht; der Mietvertrag; eine Klage vor Gericht; Kündigungsschutz",
        "math": "eine quadratische Gleichung; die Ableitung; das Integral; Wahrscheinlichkeit; der Satz des Pythagoras; eine Matrix",
        "other": "ein Kuchenrezept; das Wetter morgen; ein Witz; eine Reise nach Rom; hallo, wie geht's; ein Gedicht",
        "philosophy": "der freie Wille; Utilitarismus; Kants Ethik; Existenzialismus; der Sinn des Lebens",
        "physics": "die Schwerkraft; die Lichtgeschwindigkeit; die Relativitätstheorie; kinetische Energie; schwarze Löcher",
        "psychology": "die Verhaltenstherapie; Angststörungen; das Gedächtnis; die Persönlichkeit; klassische Konditionierung"}),
    "zh": (["什么是{x}？", "请解释{x}。", "{x}是怎么回事？", "介绍一下{x}", "我想了解{x}"], {
        "biology": "光合作用; 细胞; DNA复制; 物种进化; 生态系统; 细菌和病毒; 遗传基因",
        "business": "商业计划; 市场营销策略; 销售; 会计; 人力资源管理; 供应链",
        "chemistry": "元素周期表; 酸和碱; 化学键; 化学反应; 分子; 氧化还原",
        "computer science": "一个Python函数; 数据库; 算法; 编程; 代码里的错误; 神经网络; 操作系统",
        "economics": "通货膨胀; 供给与需求; 国内生产总值; 货币政策; 失业率; 经济增长",
        "engineering": "悬索桥; 电路设计; 电动机; 钢筋混凝土; 材料强度; 机械设计",
        "health": "糖尿病; 高血压; 流感的症状; 健康饮食; 腰痛; 疫苗; 药物副作用",
        "history": "法国大革命; 第二次世界大战; 罗马帝国; 中世纪; 明朝的历史; 秦始皇",
        "law": "违约责任; 刑法; 著作权; 租赁合同; 诉讼; 劳动法",
        "math": "一元二次方程; 导数; 积分; 概率; 勾股定理; 矩阵",
        "other": "红烧肉的做法; 明天的天气; 讲个笑话; 去罗马旅游; 你好; 写一首诗",
        "philosophy": "自由意志; 功利主义; 康德的伦理学; 存在主义; 人生的意义",
        "physics": "重力; 光速; 相对论; 动能; 黑洞; 量子力学",
        "psychology": "认知疗法; 焦虑症; 记忆; 人格; 条件反射"}),
    "ru": (["Что такое {x}?", "Объясни, что такое {x}.", "Как работает {x}?", "Расскажи про {x}"], {
        "biology": "фотосинтез; клетка; ДНК; эволюция видов; экосистема; бактерии",
        "business": "бизнес-план; маркетинговая стратегия; продажи; бухгалтерский учёт; управление персоналом",
        "chemistry": "таблица Менделеева; кислоты и основания; химическая связь; химическая реакция; молекулы",
        "computer science": "функция на Python; база данных; алгоритм; программирование; ошибка в коде",
        "economics": "инфляция; спрос и предложение; валовой внутренний продукт; денежная политика; безработица",
        "engineering": "висячий мост; электрическая цепь; электродвигатель; железобетон; прочность материалов",
        "health": "диабет; высокое давление; симптомы гриппа; здоровое питание; боль в спине; прививка",
        "history": "Французская революция; Вторая мировая война; Римская империя; Средние века; Пётр Первый",
        "law": "нарушение договора; уголовное право; авторское право; договор аренды; судебный иск",
        "math": "квадратное уравнение; производная; интеграл; вероятность; теорема Пифагора; матрица",
        "other": "рецепт борща; погода завтра; анекдот; поездка в Рим; привет, как дела; стихотворение",
        "philosophy": "свобода воли; утилитаризм; этика Канта; экзистенциализм; смысл жизни",
        "physics": "гравитация; скорость света; теория относительности; кинетическая энергия; чёрные дыры",
        "psychology": "когнитивная терапия; тревожность; память; личность; условный рефлекс"}),
    "ja": (["{x}とは何ですか？", "{x}について説明してください。", "{x}の仕組みを教えて", "{x}"], {
        "biology": "光合成; 細胞; DNAの複製; 生物の進化; 生態系; 細菌",
        "business": "事業計画; マーケティング戦略; 営業; 会計; 人事管理",
        "chemistry": "周期表; 酸と塩基; 化学結合; 化学反応; 分子",
        "computer science": "Pythonの関数; データベース; アルゴリズム; プログラミング; コードのバグ",
        "economics": "インフレ; 需要と供給; 国内総生産; 金融政策; 失業率",
        "engineering": "吊り橋; 電気回路; 電動機; 鉄筋コンクリート; 材料の強度",
        "health": "糖尿病; 高血圧; インフルエンザの症状; 健康的な食事; 腰痛; ワクチン",
        "history": "フランス革命; 第二次世界大戦; ローマ帝国; 江戸時代; 明治維新",
        "law": "契約違反; 刑法; 著作権; 賃貸借契約; 訴訟",
        "math": "二次方程式; 微分; 積分; 確率; 三平方の定理; 行列",
        "other": "カレーの作り方; 明日の天気; 冗談; ローマ旅行; こんにちは; 詩",
        "philosophy": "自由意志; 功利主義; カントの倫理学; 実存主義; 人生の意味",
        "physics": "重力; 光の速さ; 相対性理論; 運動エネルギー; ブラックホール",
        "psychology": "認知療法; 不安障害; 記憶; 性格; 条件づけ"}),
    "ar": (["ما هو {x}؟", "اشرح {x}", "كيف يعمل {x}؟", "أخبرني عن {x}"], {
        "biology": "التمثيل الضوئي; الخلية; الحمض النووي; التطور; النظام البيئي",
        "business": "خطة العمل; استراتيجية التسويق; المبيعات; المحاسبة; الموارد البشرية",
        "chemistry": "الجدول الدوري; الأحماض والقواعد; الرابطة الكيميائية; التفاعل الكيميائي; الجزيئات",
        "computer science": "دالة في بايثون; قاعدة البيانات; الخوارزمية; البرمجة; خطأ في الكود",
        "economics": "التضخم; العرض والطلب; الناتج المحلي الإجمالي; السياسة النقدية; البطالة",
        "engineering": "الجسر المعلق; الدائرة الكهربائية; المحرك الكهربائي; الخرسانة المسلحة",
        "health": "مرض السكري; ضغط الدم المرتفع; أعراض الإنفلونزا; الغذاء الصحي; ألم الظهر; اللقاح",
        "history": "الثورة الفرنسية; الحرب العالمية الثانية; الإمبراطورية الرومانية; العصور الوسطى",
        "law": "خرق العقد; القانون الجنائي; حقوق النشر; عقد الإيجار; الدعوى القضائية",
        "math": "المعادلة التربيعية; المشتقة; التكامل; الاحتمال; نظرية فيثاغورس; المصفوفة",
        "other": "وصفة طعام; الطقس غدا; نكتة; رحلة إلى روما; مرحبا كيف حالك; قصيدة",
        "philosophy": "حرية الإرادة; النفعية; أخلاق كانط; الوجودية; معنى الحياة",
        "physics": "الجاذبية; سرعة الضوء; النسبية; الطاقة الحركية; الثقوب السوداء",
        "psychology": "العلاج المعرفي; القلق; الذاكرة; الشخصية; الاشتراط الكلاسيكي"}),
    "pt": (["O que é {x}?", "Explique {x}.", "Como funciona {x}?", "Fale sobre {x}"], {
        "biology": "a fotossíntese; a célula; o DNA; a evolução das espécies; os ecossistemas",
        "business": "o plano de negócios; a estratégia de marketing; as vendas; a contabilidade; os recursos humanos",
        "chemistry": "a tabela periódica; os ácidos e as bases; a ligação química; a reação química",
        "computer science": "uma função em Python; um banco de dados; um algoritmo; a programação; um erro no código",
        "economics": "a inflação; a oferta e a demanda; o produto interno bruto; a política monetária; o desemprego",
        "engineering": "uma ponte suspensa; um circuito elétrico; um motor elétrico; o concreto armado",
        "health": "o diabetes; a pressão alta; os sintomas da gripe; uma dieta saudável; a dor nas costas; a vacina",
        "history": "a Revolução Francesa; a Segunda Guerra Mundial; o Império Romano; a Idade Média",
        "law": "a quebra de contrato; o direito penal; os direitos autorais; o contrato de aluguel; um processo judicial",
        "math": "uma equação do segundo grau; a derivada; a integral; a probabilidade; o teorema de Pitágoras",
        "other": "uma receita de bolo; o tempo amanhã; uma piada; uma viagem a Roma; olá, tudo bem?; um poema",
        "philosophy": "o livre-arbítrio; o utilitarismo; a ética de Kant; o existencialismo; o sentido da vida",
        "physics": "a gravidade; a velocidade da luz; a relatividade; a energia cinética; os buracos negros",
        "psychology": "a terapia cognitiva; a ansiedade; a memória; a personalidade; o condicionamento clássico"}),
}


def questions(random):
    """Yields (text, domain, topic): every topic in three forms of words, every foreign one in one."""
    for domain, words in ENGLISH.items():
        topics = [" ".join(t.split()) for t in words.split(";")]
        for topic in topics:
            for template in random.sample(TEMPLATES, 3):
                yield template.format(x=topic, y=random.choice(topics)), domain, topic
    for templates, domains in FOREIGN.values():
        for domain, words in domains.items():
            for topic in words.split(";"):
                yield random.choice(templates).format(x=topic.strip()), domain, topic
